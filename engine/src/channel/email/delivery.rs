//! What becomes of a mail, by what its server said to it (RFC 5321, 4.2; RFC 3463).

use crate::channel::{Outcome, Slow};
use crate::message::MessageError;

/// How the delivery of a mail to its server ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// The server has it, and sees to the rest.
    Taken,
    /// The server said no, and has nothing of it.
    Refused { at: Step, code: u16, words: String },
    /// The server did not say, and has nothing of it.
    NotSent { at: Step, reason: String },
    /// It may have.
    PerhapsSent(String),
}

/// How far it had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The server greets, and is greeted.
    Greeting,
    Login,
    /// Who writes.
    Sender,
    /// To whom.
    Recipient,
    Content,
}

/// So many characters of a server's words are kept.
const WORDS_CHARS_MAX: usize = 500;

/// What became of the mail with this id.
pub fn outcome(delivered: Delivered, id: &str) -> Outcome {
    let (at, code, words) = match delivered {
        Delivered::Taken => return Outcome::Sent { provider_id: id.to_owned(), held: None },
        Delivered::NotSent { at, reason } => {
            let error = MessageError::new("unreachable", &reason);
            return Outcome::Retry { error, slow: slow(at) };
        }
        Delivered::PerhapsSent(reason) => return Outcome::Unknown { reason },
        Delivered::Refused { at, code, words } => (at, code, words),
    };
    let error = error(code, &words);
    match code {
        400..=499 => Outcome::Retry { error, slow: slow(at) },
        // That it has to log in first may be said late.
        530 | 535 | 538 => Outcome::AccountStopped { error },
        _ => match slow(at) {
            Slow::Account => Outcome::AccountStopped { error },
            _ => Outcome::Refused { error },
        },
    }
}

/// Whose trouble it is: all mails of the account have the same server, login and sender.
fn slow(at: Step) -> Slow {
    match at {
        Step::Greeting | Step::Login | Step::Sender => Slow::Account,
        Step::Recipient | Step::Content => Slow::Message,
    }
}

/// Whether an error of this code says that the login does not count.
pub fn is_of_login(code: &str) -> bool {
    matches!(code, "530" | "534" | "535" | "538" | "5.7.8" | "5.7.0" | "5.7.9")
}

/// The server's words, under the code that says most.
fn error(code: u16, words: &str) -> MessageError {
    let words: String = words.replace(char::is_control, " ");
    let (first, rest) = words.split_once(' ').unwrap_or((&words, ""));
    let is_code = first.split('.').count() == 3
        && first.split('.').all(|n| (1..=3).contains(&n.len()) && n.parse::<u16>().is_ok());
    let (code, words) = match is_code {
        true => (first.to_owned(), rest.trim()),
        false => (code.to_string(), words.trim()),
    };
    let message = match words {
        "" => "the mail server refused it without a reason".to_owned(),
        words => words.chars().take(WORDS_CHARS_MAX).collect(),
    };
    MessageError { code, message }
}

#[cfg(test)]
mod tests {
    use super::{Delivered, Step, outcome};
    use crate::channel::{Outcome, Slow};

    fn refused(at: Step, code: u16, words: &str) -> Outcome {
        outcome(Delivered::Refused { at, code, words: words.to_owned() }, "1@example.com")
    }

    #[test]
    fn what_passes_is_tried_again_and_is_the_account_s_until_the_recipient_is_named() {
        for (at, of) in [
            (Step::Greeting, Slow::Account),
            (Step::Login, Slow::Account),
            (Step::Sender, Slow::Account),
            (Step::Recipient, Slow::Message),
            (Step::Content, Slow::Message),
        ] {
            let lost = outcome(Delivered::NotSent { at, reason: "no".to_owned() }, "1@example.com");
            let said = [421, 450, 451, 452, 454].map(|code| refused(at, code, "later"));
            for outcome in said.into_iter().chain([lost]) {
                let Outcome::Retry { slow, .. } = outcome else { panic!("{at:?} {outcome:?}") };
                assert_eq!(slow, of, "{at:?}");
            }
        }
    }

    #[test]
    fn a_refusal_is_the_account_s_until_the_recipient_is_named_and_then_the_mail_s() {
        for (at, code) in [(Step::Greeting, 554), (Step::Login, 535), (Step::Sender, 553)] {
            assert!(matches!(refused(at, code, "no"), Outcome::AccountStopped { .. }), "{at:?}");
        }
        assert!(matches!(refused(Step::Recipient, 530, "no"), Outcome::AccountStopped { .. }));
        for at in [Step::Recipient, Step::Content] {
            assert!(matches!(refused(at, 550, "no"), Outcome::Refused { .. }), "{at:?}");
        }
    }

    #[test]
    fn the_server_s_words_stand_under_the_code_that_says_most() {
        let said = |words| match refused(Step::Recipient, 550, words) {
            Outcome::Refused { error } => (error.code, error.message),
            other => panic!("{other:?}"),
        };
        assert_eq!(said("5.1.1 nobody here"), ("5.1.1".to_owned(), "nobody here".to_owned()));
        assert_eq!(said("nobody here\r\nBcc: x").0, "550");
        assert!(!said("nobody\r\nBcc: x").1.contains(['\r', '\n']));
        assert_eq!(said("").1, "the mail server refused it without a reason");
        assert_eq!(said(&"x".repeat(9_000)).1.len(), 500);
    }

    #[test]
    fn a_mail_that_may_be_there_is_of_unknown_outcome() {
        let lost = outcome(Delivered::PerhapsSent("broke".to_owned()), "1@example.com");
        assert!(matches!(lost, Outcome::Unknown { .. }));
        let taken = outcome(Delivered::Taken, "1@example.com");
        assert!(
            matches!(taken, Outcome::Sent { provider_id, .. } if provider_id == "1@example.com")
        );
    }
}
