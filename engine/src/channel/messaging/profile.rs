//! Who a person says they are (Messenger Platform, "User Profile API"; Instagram Platform, "User
//! Profile API"). It is told of those who have written and agreed to it.

use serde_json::Value;

use super::encode::Speaker;
use super::people::kind;
use crate::channel::reading::text;
use crate::channel::{Answered, Call, Channel, Handle, Method, Outcome, Profile, whatsapp};
use crate::resource::NAME_CHARS_MAX;

/// The longest id of a person.
const ID_BYTES_MAX: usize = 64;

/// Asks who a person is; `None` where none of the handles is one of this channel.
pub fn profile(from: Speaker<'_>, of: &[Handle]) -> Option<Call> {
    let person = of.iter().find(|handle| handle.kind == kind(from.channel))?;
    let id = person.value.as_str();
    let is_id = (1..=ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let fields = match from.channel {
        Channel::Instagram => "name,username",
        _ => "name,first_name,last_name",
    };
    is_id.then(|| from.call(Method::Get, format!("{id}?fields={fields}"), None))
}

/// Who they are, as the answer says.
pub fn profiled(answered: Answered) -> Profile {
    if let Answered::With { status: 200..=299, body, .. } = &answered {
        let said: Value = serde_json::from_slice(body).unwrap_or_default();
        let of = |key: &str| {
            let said = text(said.get(key)?)?;
            let said = said.trim().chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX);
            Some(said.collect::<String>()).filter(|said| !said.is_empty())
        };
        let both = || match (of("first_name"), of("last_name")) {
            (Some(first), Some(last)) => Some(format!("{first} {last}")),
            (one, other) => one.or(other),
        };
        let username = || of("username").map(|name| format!("@{name}"));
        let name = of("name").or_else(both).or_else(username);
        return name.map_or(Profile::Unknown, Profile::Named);
    }
    match whatsapp::outcome(answered) {
        Outcome::Retry { .. } | Outcome::Unknown { .. } => Profile::Later,
        // They have not agreed, are gone, or the app may not ask.
        Outcome::Refused { .. } | Outcome::AccountStopped { .. } | Outcome::Sent { .. } => {
            Profile::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{profile, profiled};
    use crate::channel::messaging::Speaker;
    use crate::channel::{Answered, Channel, Handle, Profile};
    use crate::contact::IdentityKind;

    fn answers(status: u16, body: Value) -> Profile {
        let body = body.to_string().into_bytes();
        profiled(Answered::With { status, body, wait: None })
    }

    #[test]
    fn a_person_is_called_what_they_call_themselves() {
        let named = |name: &str| Profile::Named(name.to_owned());
        assert_eq!(
            answers(200, json!({"name": " Noor A. ", "username": "noor"})),
            named("Noor A.")
        );
        assert_eq!(
            answers(200, json!({"first_name": "Noor", "last_name": "A."})),
            named("Noor A.")
        );
        assert_eq!(answers(200, json!({"last_name": "A."})), named("A."));
        assert_eq!(answers(200, json!({"name": "", "username": "noor"})), named("@noor"));
        assert_eq!(answers(200, json!({"id": "7"})), Profile::Unknown);
        assert_eq!(answers(200, json!([])), Profile::Unknown);
    }

    #[test]
    fn who_has_not_agreed_is_not_asked_again_and_what_passes_is() {
        let error = |code: i64, sub: i64| json!({"error": {"code": code, "error_subcode": sub}});
        for (code, sub) in [(100, 33), (100, 2_018_218), (230, 0), (190, 463), (10, 0)] {
            assert_eq!(answers(400, error(code, sub)), Profile::Unknown, "{code}/{sub}");
        }
        for code in [1, 2, 4, 613] {
            assert_eq!(answers(400, error(code, 0)), Profile::Later, "{code}");
        }
        assert_eq!(profiled(Answered::NotSent("away".to_owned())), Profile::Later);
        assert_eq!(answers(502, json!("<html>")), Profile::Later);
    }

    #[test]
    fn an_id_that_is_none_leads_nowhere() {
        let from = Speaker { channel: Channel::Messenger, key: "501", token: "t" };
        let asked = |kind, value: &str| {
            let call = profile(from, &[Handle { kind, value: value.to_owned() }]);
            call.map(|call| call.path)
        };
        let path = asked(IdentityKind::Psid, "81");
        assert_eq!(path.as_deref(), Some("81?fields=name,first_name,last_name"));
        assert_eq!(asked(IdentityKind::Igsid, "81"), None);
        for none in ["", "../me", "8?x", "8/1", "8 1"] {
            assert_eq!(asked(IdentityKind::Psid, none), None, "{none}");
        }
    }
}
