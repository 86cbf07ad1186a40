//! Contacts in the index: documents beside those of messages, found by fields of their own.

use engine::contact::Contact;
use engine::id::{ContactId, TenantId};
use engine::message::Place;
use engine::search::contact::{Sought, signs};
use engine::time::Timestamp;
use tantivy::query::{BooleanQuery, Query};
use tantivy::{TantivyDocument, Term};

use super::cut::own;
use super::newest::Newest;
use super::{SearchError, SearchIndex, begins, is};
use crate::keys::made_at;

/// A contact as the index takes it.
pub(super) struct Person {
    id: ContactId,
    /// This and the signs with their tenant before them.
    name: Option<String>,
    signs: Vec<String>,
}

impl Person {
    pub(super) fn of(contact: &Contact) -> Self {
        let own = |text: &str| own(contact.tenant, text);
        let signs = signs(contact).iter().map(|sign| own(sign)).collect();
        Self { id: contact.id, name: contact.name.as_deref().map(own), signs }
    }

    pub(super) fn bytes(&self) -> usize {
        self.name.iter().chain(&self.signs).map(String::len).sum()
    }
}

impl SearchIndex {
    /// A tenant's contacts that are sought, the newest so many, newest first.
    pub fn contacts(
        &self,
        tenant: TenantId,
        sought: &Sought,
        limit: usize,
    ) -> Result<Vec<ContactId>, SearchError> {
        let found = self.newest(&*self.sought(tenant, sought), Newest::of_all(limit))?;
        Ok(found.into_iter().map(|found| ContactId(found.id)).collect())
    }

    fn sought(&self, tenant: TenantId, sought: &Sought) -> Box<dyn Query> {
        let sign = |sign: &str| Term::from_field_text(self.fields.sign, &own(tenant, sign));
        let each = |all: &[Sought]| all.iter().map(|one| self.sought(tenant, one)).collect();
        match sought {
            Sought::Name(phrase) => self.phrase(self.fields.name, tenant, phrase),
            Sought::Is(text) => is(sign(text)),
            Sought::Begins(text) => begins(sign(text)),
            Sought::All(all) => Box::new(BooleanQuery::intersection(each(all))),
            Sought::Any(any) => Box::new(BooleanQuery::union(each(any))),
        }
    }

    pub(super) fn person(&self, person: &Person) -> TantivyDocument {
        // Lists show them in the order of their ids.
        let at: Timestamp = made_at(person.id.0);
        let mut document = self.placed(at, person.id.0, Place { block: 0, ordinal: 0 }, 0);
        document.add_bytes(self.fields.contact, person.id.0.as_bytes());
        if let Some(name) = &person.name {
            document.add_text(self.fields.name, name);
        }
        for sign in &person.signs {
            document.add_text(self.fields.sign, sign);
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use engine::channel::{Channel, Handle};
    use engine::contact::{Contact, Identity, IdentityKind};
    use engine::id::{AccountId, ContactId, TenantId, ThreadId};
    use engine::search::contact::Sought;
    use engine::time::Timestamp;
    use uuid::Uuid;

    use super::super::tests::{OTHER, OURS, asked, open, row, write};
    use crate::search::{Round, SearchIndex, SearchWriter};

    /// Who has this number, the later the higher.
    fn person(tenant: TenantId, number: u128, name: &str) -> Contact {
        let mut contact = Contact::new(ContactId(Uuid::from_u128(number)), tenant, Timestamp(9));
        let phone = Handle { kind: IdentityKind::Phone, value: number.to_string() };
        let account = AccountId(Uuid::nil());
        contact.identities = vec![Identity::of(&phone, account)];
        contact.threads = vec![ThreadId(Uuid::nil())];
        contact.name = Some(name.to_owned());
        contact
    }

    fn ours(number: u128, name: &str) -> Contact {
        person(OURS, number, name)
    }

    fn put(writer: &mut SearchWriter, contacts: &[Contact]) {
        let mut round = Round::default();
        contacts.iter().for_each(|contact| round.put_contact(contact, false));
        write(writer, round);
    }

    /// The numbers of those that are found, newest first.
    fn found(index: &SearchIndex, sought: Option<Sought>) -> Vec<u128> {
        let found = index.contacts(OURS, &sought.unwrap(), 10).unwrap();
        found.into_iter().map(|id| id.0.as_u128()).collect()
    }

    #[test]
    fn names_of_any_script_are_found_by_beginnings_newest_first() {
        let (index, mut writer) = open(None);
        let names = ["Zoë Quill", "王小明", "Siti Nurhaliza", "김민수", "สมชาย", "zoe-ann 小明"];
        let all: Vec<_> = (1..).zip(names).map(|(number, name)| ours(number, name)).collect();
        put(&mut writer, &all);
        for (typed, wanted) in [
            ("z", &[6, 1][..]),
            ("zoe", &[6, 1]),
            ("QUI zoë", &[1]),
            ("uill", &[]),
            ("小明", &[6, 2]),
            ("王", &[2]),
            ("明小", &[]),
            ("nurhal siti", &[3]),
            ("민수", &[4]),
            ("ชาย", &[5]),
            ("ann 明", &[6]),
        ] {
            assert_eq!(found(&index, Sought::name(typed)), wanted, "{typed}");
        }
    }

    #[test]
    fn numbers_addresses_and_tags_are_found_and_all_that_is_asked_for_must_be_so() {
        let (index, mut writer) = open(None);
        let (mut ana, mut bea) = (ours(6281234567890, "Ana"), ours(6281234560000, "Bea"));
        ana.email = Some("Ana@example.com".to_owned());
        (ana.tags, bea.tags) = (vec!["vip".to_owned()], vec!["vip".to_owned(), "new".to_owned()]);
        let (a, b) = (6281234567890, 6281234560000);
        put(&mut writer, &[ana, bea]);
        for (sought, wanted) in [
            (Sought::phone("7890"), &[a][..]),
            (Sought::phone("+62 812"), &[a, b]),
            (Sought::phone("0812"), &[a, b]),
            (Sought::phone("345"), &[]),
            (Sought::email("ana@EXAMPLE.com"), &[a]),
            (Sought::email("@example.com"), &[a]),
            (Sought::tag("vip"), &[a, b]),
            (Sought::tag("vi"), &[]),
            (Sought::of("bea"), &[b]),
            (Sought::of("0000"), &[b]),
            (Sought::of("ana@"), &[a]),
            (Sought::of("vip"), &[]),
        ] {
            assert_eq!(found(&index, sought.clone()), wanted, "{sought:?}");
        }
        let both = |one: Option<Sought>, other: Option<Sought>| {
            Some(Sought::All(vec![one.unwrap(), other.unwrap()]))
        };
        assert_eq!(found(&index, both(Sought::tag("vip"), Sought::name("b"))), [b]);
        assert_eq!(found(&index, both(Sought::tag("new"), Sought::name("a"))), [0; 0]);
    }

    #[test]
    fn a_contact_is_found_by_what_it_is_now_and_once_it_is_another_s_not_at_all() {
        let (index, mut writer) = open(None);
        let mut contact = ours(4911, "Before");
        let mut twice = Round::default();
        (0..2).for_each(|_| twice.put_contact(&contact, true));
        write(&mut writer, twice);
        assert_eq!(found(&index, Sought::of("before")), [4911], "by two ways, and once");
        contact.name = Some("After".to_owned());
        put(&mut writer, &[contact.clone()]);
        assert_eq!(found(&index, Sought::of("before")), [0; 0]);
        assert_eq!(found(&index, Sought::of("after")), [4911]);
        contact.merged_into = Some(ContactId(Uuid::nil()));
        put(&mut writer, &[contact]);
        assert_eq!(found(&index, Sought::of("after")), [0; 0]);
        put(&mut writer, &[ours(4912, "Gone")]);
        let mut gone = Round::default();
        gone.remove_contact(ContactId(Uuid::from_u128(4912)));
        write(&mut writer, gone);
        assert_eq!(found(&index, Sought::of("gone")), [0; 0]);
    }

    #[test]
    fn another_tenant_s_contacts_are_never_found() {
        let (index, mut writer) = open(None);
        let mut theirs = person(OTHER, 4911, "Secret");
        theirs.tags = vec!["secret".to_owned()];
        put(&mut writer, &[theirs, ours(4912, "Secretly")]);
        for sought in [Sought::of("secret"), Sought::phone("491"), Sought::of("s")] {
            assert_eq!(found(&index, sought), [4912]);
        }
        assert_eq!(found(&index, Sought::tag("secret")), [0; 0]);
        assert_eq!(found(&index, Sought::of(&OTHER.0.simple().to_string())), [0; 0]);
    }

    #[test]
    fn messages_and_contacts_are_not_found_for_each_other() {
        let (index, mut writer) = open(None);
        let mut round = Round::default();
        round.put(OURS, Channel::Whatsapp, &row(7, 1, "Ines writes"), true);
        round.put_contact(&ours(4911, "Ines"), true);
        write(&mut writer, round);
        assert_eq!(found(&index, Sought::of("ines")), [4911]);
        assert_eq!(found(&index, Sought::name("writes")), [0; 0]);
        assert_eq!(index.find(&asked("ines")).unwrap().len(), 1);
        assert_eq!(index.find(&asked("")).unwrap().len(), 1);
    }

    #[test]
    fn of_many_the_newest_are_found_whatever_their_order_in_the_index() {
        let (index, mut writer) = open(None);
        for part in [3, 1, 2, 0] {
            let all: Vec<_> = (0..50).map(|n| ours(100 + part * 50 + n, "Many")).collect();
            put(&mut writer, &all);
        }
        let newest: Vec<_> = (290..300).rev().collect();
        assert_eq!(found(&index, Sought::of("many")), newest);
    }
}
