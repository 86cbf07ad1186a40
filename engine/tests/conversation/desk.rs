//! One thread in memory: commands in, commits kept, everything read back from what was kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine::channel::{
    Amend, Amender, Amendment, Channel, Handle, InboundMessage, Opaque, Outcome, Receipt,
};
use engine::contact::IdentityKind;
use engine::conversation::contents::{Changed, let_go, needed, needed_by_thread};
use engine::conversation::{
    Answer, Command, ContentAt, Context, Conversation, Draft, Effect, Envelope, IdempotencyKey,
    Loaded, Need, ReactionDraft, Recent, Refused, Rules, State, Target, Thread, decide, needs,
};
use engine::fact::{By, Commit, Recorded, UsedKey};
use engine::id::{AccountId, AgentId, ContactId, ConversationId, MessageId, TenantId, ThreadId};
use engine::message::{
    Content, MessageError, MessageRow, MessageStatus, Place, Sender, SenderKind,
};
use engine::mint::Mint;
use engine::permission::Viewer;
use engine::saying::Saying;
use engine::time::Timestamp;
use uuid::Uuid;

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const AGENT: AgentId = AgentId(Uuid::from_u128(0xA6));

/// Ids in the order they are asked for.
pub(crate) struct Counted(u128);

impl Mint for Counted {
    fn uuid(&mut self) -> Uuid {
        self.0 += 1;
        Uuid::from_u128(self.0 << 16)
    }
}

pub(crate) struct Desk {
    pub(crate) now: Timestamp,
    pub(crate) thread: Thread,
    pub(crate) heads: BTreeMap<ConversationId, Conversation>,
    pub(crate) log: Vec<Commit>,
    pub(crate) rows: BTreeMap<(ConversationId, Place), MessageRow>,
    pub(crate) contents: BTreeMap<ContentAt, Content>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) rules: Rules,
    /// Who else contacts are.
    pub(crate) persons: BTreeMap<ContactId, Vec<ContactId>>,
    keys: BTreeMap<[u8; 16], UsedKey>,
    recent: Recent,
    mint: Counted,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let account = (AccountId(Uuid::from_u128(2)), Channel::Whatsapp);
        let (id, tenant) = (ThreadId(Uuid::from_u128(0x7)), TenantId(Uuid::from_u128(1)));
        let thread = Thread::new(id, tenant, account, ContactId(Uuid::from_u128(3)));
        let rules = Rules {
            reopen_within: 24 * HOUR,
            recent_ids: 64,
            send_ladder: vec![Duration::from_secs(1), Duration::from_secs(5)],
            pair_ladder: vec![Duration::from_secs(1), Duration::from_secs(4)],
            pending_max: 20,
            parked_max: 8,
        };
        Self {
            now: Timestamp(1_790_000_000_000),
            thread,
            heads: BTreeMap::new(),
            log: Vec::new(),
            rows: BTreeMap::new(),
            contents: BTreeMap::new(),
            effects: Vec::new(),
            rules,
            persons: BTreeMap::new(),
            keys: BTreeMap::new(),
            recent: Recent::default(),
            mint: Counted(100),
        }
    }

    /// One on this channel.
    pub(crate) fn on(channel: Channel) -> Self {
        let mut desk = Self::new();
        desk.thread.channel = channel;
        desk
    }

    pub(crate) fn later(&mut self, by: Duration) {
        self.now = self.now + by;
    }

    /// The current case.
    pub(crate) fn case(&self) -> &Conversation {
        &self.heads[&self.thread.current.unwrap()]
    }

    pub(crate) fn row(&self, id: MessageId) -> &MessageRow {
        self.rows.values().find(|row| row.message.id == id).unwrap()
    }

    pub(crate) fn status(&self, id: MessageId) -> MessageStatus {
        self.row(id).message.status
    }

    /// One command, decided alone.
    pub(crate) fn run(&mut self, envelope: Envelope) -> Result<Answer, Refused> {
        self.batch(vec![envelope]).pop().unwrap()
    }

    /// Several commands in one commit, as the actor does it: a decision about another case than
    /// the commit's begins the next commit.
    pub(crate) fn batch(&mut self, envelopes: Vec<Envelope>) -> Vec<Result<Answer, Refused>> {
        let mut answers = Vec::new();
        let mut state = State {
            thread: self.thread.clone(),
            case: self.thread.current.and_then(|id| self.heads.get(&id).cloned().map(Arc::new)),
            recent: self.recent.clone(),
        };
        let mut loaded = Loaded::default();
        let mut commit: Option<Commit> = None;
        let mut contents = Vec::new();
        let before = self.heads.clone();
        for envelope in envelopes {
            self.load(&state, &mut loaded, &envelope);
            let mut decision = self.decide(&state, &loaded, &envelope, commit.as_ref());
            let other = |c: &Commit| decision.as_ref().is_ok_and(|d| d.head.id != c.conversation);
            if commit.as_ref().is_some_and(other) {
                self.keep(commit.take(), &before, &mut contents, &state.thread);
                decision = self.decide(&state, &loaded, &envelope, None);
            }
            let decision = match decision {
                Ok(decision) => decision,
                Err(refused) => {
                    answers.push(Err(refused));
                    continue;
                }
            };
            state.take(&decision, self.rules.recent_ids);
            loaded.take(&state, &decision);
            if !decision.facts.is_empty() {
                let conversation = decision.head.id;
                let first = decision.head.seq + 1 - decision.facts.len() as u64;
                let at = self.now;
                let commit = commit.get_or_insert(Commit {
                    conversation,
                    first,
                    at,
                    facts: Vec::new(),
                    keys: Vec::new(),
                });
                commit.facts.extend(decision.facts.iter().cloned());
                commit.keys.extend(decision.key.clone());
            }
            for row in &decision.rows {
                self.rows.insert((decision.head.id, row.place), row.clone());
            }
            contents.extend(decision.contents);
            self.keys.extend(decision.key.map(|key| (key.key, key)));
            if !decision.facts.is_empty() {
                self.heads.insert(decision.head.id, Arc::unwrap_or_clone(decision.head));
            }
            self.effects.extend(decision.effects);
            answers.push(Ok(decision.answer));
        }
        self.keep(commit, &before, &mut contents, &state.thread);
        self.thread = state.thread;
        self.recent = state.recent;
        answers
    }

    /// A commit is stored, and what edits say as long as something needs it.
    fn keep(
        &mut self,
        commit: Option<Commit>,
        before: &BTreeMap<ConversationId, Conversation>,
        contents: &mut Vec<Changed>,
        thread: &Thread,
    ) {
        let contents = std::mem::take(contents);
        let owned = |(at, content): (ContentAt, &Content)| (at, content.clone());
        for (gone, _) in contents.iter().filter(|(_, content)| content.is_none()) {
            self.contents.remove(gone);
        }
        let Some(commit) = commit else {
            return self.contents.extend(needed_by_thread(&contents, thread).map(owned));
        };
        let (id, after) = (commit.conversation, &self.heads[&commit.conversation]);
        let rows: Vec<_> =
            self.rows.values().filter(|row| row.message.conversation_id == id).cloned().collect();
        self.contents.extend(needed(&contents, &rows, after).map(owned));
        for gone in let_go(&commit, before.get(&id), after) {
            self.contents.remove(&gone);
        }
        self.log.push(commit);
    }

    fn decide(
        &mut self,
        state: &State,
        loaded: &Loaded,
        envelope: &Envelope,
        commit: Option<&Commit>,
    ) -> Result<engine::conversation::Decision, Refused> {
        let mut context = Context {
            now: self.now,
            mint: &mut self.mint,
            loaded,
            rules: &self.rules,
            contact_name: Some("Ines"),
            contact_phone: Some("15550001"),
            commit_first: commit.map(|commit| commit.first),
        };
        decide(state, envelope, &mut context)
    }

    fn load(&self, state: &State, loaded: &mut Loaded, envelope: &Envelope) {
        loop {
            let missing = needs(state, loaded, envelope);
            if missing.is_empty() {
                return;
            }
            for need in missing {
                match need {
                    Need::Ref(id) => {
                        let found = self.log.iter().find_map(|commit| {
                            let mut facts = commit.facts.iter();
                            let found = facts
                                .find_map(|r| r.fact.reference().filter(|(known, _)| *known == id));
                            Some((commit.conversation, found?.1))
                        });
                        loaded.refs.insert(id, found);
                    }
                    Need::Key(key) => {
                        loaded.keys.insert(key, self.keys.get(&key).cloned());
                    }
                    Need::Row(id, place) => {
                        loaded.rows.insert((id, place), self.rows.get(&(id, place)).cloned());
                    }
                    Need::Content(at) => {
                        loaded.contents.insert(at, self.contents.get(&at).cloned());
                    }
                    Need::Message(id, message) => {
                        let found = self.rows.iter().find(|((conversation, _), row)| {
                            *conversation == id && row.message.id == message
                        });
                        loaded.messages.insert((id, message), found.map(|((_, place), _)| *place));
                    }
                    Need::Case(id) => {
                        loaded.cases.insert(id, self.heads.get(&id).cloned());
                    }
                    Need::Person(contact) => {
                        let all = self.persons.get(&contact).cloned().unwrap_or_default();
                        loaded.persons.insert(contact, all);
                    }
                }
            }
        }
    }

    /// What a wake would make of the log: the head of a case, folded from its facts.
    pub(crate) fn replayed(&self, id: ConversationId) -> Conversation {
        let mut head = Conversation::blank(id, &self.thread);
        for commit in self.log.iter().filter(|commit| commit.conversation == id) {
            assert_eq!(commit.first, head.seq + 1, "facts are numbered without a gap");
            for Recorded { by, fact } in &commit.facts {
                let row = fact.message().and_then(|(_, place)| self.rows.get(&(id, place)));
                head.apply(&Recorded { by: *by, fact: fact.clone() }, commit.at, row);
            }
        }
        head
    }

    /// Everything is lost but what is stored; a fresh process wakes the thread.
    pub(crate) fn crash(&mut self) {
        self.recent = Recent::unknown();
        if let Some(id) = self.thread.current {
            let wake = Command::Wake { mark: true, held: Vec::new() };
            self.run(system(Target::Conversation(id), wake)).unwrap();
        }
    }

    pub(crate) fn receive(&mut self, provider_id: &str, text: &str) -> Answer {
        self.run(received(provider_id, text)).unwrap()
    }

    pub(crate) fn send(&mut self, text: &str) -> Result<Answer, Refused> {
        self.run(by_agent(Target::Current, said(text)))
    }

    /// The message queued, and its send begun durably.
    pub(crate) fn begin(&mut self, text: &str) -> (MessageId, Place) {
        let message = self.send(text).unwrap().message.unwrap().id;
        let place = self.row(message).place;
        let begin = Command::BeginSend { message, place };
        assert!(self.run(system(Target::Current, begin)).unwrap().changed);
        (message, place)
    }

    pub(crate) fn end(&mut self, (message, place): (MessageId, Place), outcome: Outcome) -> Answer {
        let attempt = self.row(message).attempts;
        let end = Command::EndSend { message, place, attempt, outcome };
        self.run(system(Target::Conversation(self.row(message).message.conversation_id), end))
            .unwrap()
    }

    pub(crate) fn opaque(&self, (message, place): (MessageId, Place)) -> Opaque {
        let conversation = self.row(message).message.conversation_id;
        Opaque { thread: self.thread.id, conversation, place, reaction: None }
    }
}

pub(crate) fn received(provider_id: &str, text: &str) -> Envelope {
    system(
        Target::Current,
        Command::Receive(Box::new(InboundMessage {
            from: vec![Handle { kind: IdentityKind::Phone, value: "15550001".into() }],
            provider_id: Some(provider_id.into()),
            content: Content::text(text),
            ..InboundMessage::default()
        })),
    )
}

/// Somebody did something to a message, so many seconds after the beginning.
pub(crate) fn amended(id: &str, target: &str, at: i64, by: Amender, what: Amend) -> Envelope {
    let amendment = Amendment {
        customer: vec![Handle { kind: IdentityKind::Phone, value: "15550001".into() }],
        by,
        target: target.into(),
        provider_id: Some(id.into()),
        at: Some(Timestamp(1_790_000_000_000 + at * 1_000)),
        what,
    };
    system(Target::Current, Command::Amend(amendment))
}

pub(crate) fn receipt(
    provider_id: &str,
    status: MessageStatus,
    opaque: Option<Opaque>,
) -> Envelope {
    let error = (status == MessageStatus::Failed).then(error);
    let receipt = Receipt {
        provider_id: provider_id.into(),
        opaque,
        status,
        at: None,
        recipient: Vec::new(),
        error,
    };
    system(Target::Current, Command::Receipt(receipt))
}

pub(crate) fn error() -> MessageError {
    MessageError { code: "131".into(), message: "refused".into() }
}

pub(crate) fn said(text: &str) -> Command {
    Command::Send(Draft {
        saying: Saying::Text(text.into()),
        reply_to: None,
        sender: Sender { kind: SenderKind::Agent, id: Some(AGENT.0), name: None },
        account_can_send: true,
    })
}

pub(crate) fn reacts(message: MessageId, emoji: &str) -> Envelope {
    let draft = ReactionDraft {
        message,
        emoji: Some(emoji.to_owned()).filter(|emoji| !emoji.is_empty()),
        sender: Sender { kind: SenderKind::Agent, id: Some(AGENT.0), name: None },
        account_can_send: true,
    };
    by_agent(Target::Current, Command::React(draft))
}

pub(crate) fn system(target: Target, command: Command) -> Envelope {
    Envelope { target, by: By::System, viewer: None, key: None, command }
}

pub(crate) fn by_agent(target: Target, command: Command) -> Envelope {
    Envelope { target, by: By::Agent(AGENT), viewer: None, key: None, command }
}

pub(crate) fn viewed(viewer: Viewer, command: Command) -> Envelope {
    Envelope {
        target: Target::Current,
        by: By::Agent(viewer.agent),
        viewer: Some(viewer),
        key: None,
        command,
    }
}

pub(crate) fn keyed(key: u8, digest: u8, command: Command) -> Envelope {
    let key = IdempotencyKey { key: [key; 16], digest: [digest; 16] };
    Envelope { key: Some(key), ..by_agent(Target::Current, command) }
}
