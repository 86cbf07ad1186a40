//! Afterwards: everything is read back, by REST and by going on from where each subscriber began, and
//! compared with what was acknowledged and told.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::crowd::{Crowd, Order};
use super::findings::{Findings, Kind};
use super::follow::Follow;
use super::world::World;
use crate::ledger::{Author, Comparison};
use crate::readback::Read;

/// What reading back has shown.
pub(super) struct Checked {
    pub(super) comparison: Comparison,
    pub(super) findings: Findings,
    /// Events that were told to subscribers who go on from where they began.
    pub(super) resumed: u64,
    pub(super) notes: Vec<String>,
}

/// What is there.
struct There {
    comparison: Comparison,
    /// By conversation: where each message of the run lies, and its number.
    conversations: HashMap<String, Vec<(u64, u64)>>,
}

/// What was acknowledged may wait on the server's disk: it is read again after this long.
const AGAIN: Duration = Duration::from_secs(1);
/// Streams of one socket that goes on.
const STREAMS: usize = 100;
/// So many events of a conversation they are told again: less than what a server of our own goes back. What
/// lies before was compared as it was told, and by REST.
const RESUMED: u64 = 10_000;
/// Such sockets that are opened a second.
const RAMP: f64 = 100.0;

/// Reads everything back, by REST, until all that was acknowledged is there or patience ends; then
/// listens until subscribers were told of it; then has new ones go on from where these began.
pub(super) async fn check(
    world: &Arc<World>,
    crowd: impl Future<Output = io::Result<Crowd>>,
    orders: std::sync::mpsc::Sender<Order>,
) -> io::Result<(Checked, Crowd)> {
    let give_up = Instant::now() + Duration::from_secs_f64(world.scenario.phases.patience);
    let There { comparison, conversations } = loop {
        let there = read(world).await?;
        if there.comparison.violations.lost == 0 || Instant::now() >= give_up {
            break there;
        }
        sleep(AGAIN).await;
    };
    let last = |(id, messages): (&String, &Vec<(u64, u64)>)| {
        messages.last().map(|(seq, _)| (format!("c:{id}"), *seq))
    };
    let tops: HashMap<_, _> = conversations.iter().filter_map(last).collect();
    let patience = give_up.saturating_duration_since(Instant::now()).max(AGAIN);
    // Whoever does not listen any more has failed, and is asked why.
    let _told = orders.send(Order::End { tops: tops.clone(), patience });
    let mut crowd = crowd.await?;
    let mut findings = Findings::default();
    of_rest(&comparison, &mut findings);
    findings.join(std::mem::take(&mut crowd.seen.findings));
    let live = crowd.members.iter().filter(|member| member.reads());
    for (at, follow) in
        live.enumerate().flat_map(|(at, one)| one.follows.iter().map(move |f| (at, f)))
    {
        of_follow(world, follow, &format!("subscriber {at}"), &conversations, &mut findings);
    }
    let (resumed, notes) = resume(world, &crowd, &tops, &conversations, &mut findings).await?;
    Ok((Checked { comparison, findings, resumed, notes }, crowd))
}

/// Whether something that was acknowledged is not there now.
pub(super) async fn has_lost(world: &World) -> io::Result<bool> {
    Ok(read(world).await?.comparison.violations.lost > 0)
}

async fn read(world: &World) -> io::Result<There> {
    let mut all: Vec<Read> = Vec::new();
    for tenant in &world.tenants {
        all.extend(world.reader(tenant).all(&world.mark).await?);
    }
    let ledger = world.ledger();
    let mut comparing = ledger.compare(|n| world.name(n));
    for conversation in &all {
        let author = |n| Author { customer: world.customer(n), answers: world.is_answer(n) };
        comparing.conversation(&conversation.numbers(), author);
    }
    let comparison = comparing.end();
    let conversations = all.into_iter().map(|read| (read.id, read.messages)).collect();
    Ok(There { comparison, conversations })
}

fn of_rest(comparison: &Comparison, findings: &mut Findings) {
    let violations = comparison.violations;
    findings.count(Kind::Lost, violations.lost);
    findings.count(Kind::Doubled, violations.doubled + violations.invented);
    findings.count(Kind::OutOfOrder, violations.out_of_order + violations.scattered);
    findings.examples.extend(comparison.examples.iter().cloned());
}

/// What is wrong with what somebody was told.
fn of_follow(
    world: &World,
    follow: &Follow,
    whom: &str,
    conversations: &HashMap<String, Vec<(u64, u64)>>,
    findings: &mut Findings,
) {
    let before = findings.total();
    let stream = &follow.stream;
    if let Some(id) = stream.strip_prefix("c:") {
        let none = Vec::new();
        let compared = follow.compare(conversations.get(id).unwrap_or(&none));
        let name = |n: u64| format!("message {}", world.name(n));
        for n in compared.lost {
            findings
                .add(Kind::Lost, || format!("{} of {stream} was never told to {whom}", name(n)));
        }
        for n in compared.invented {
            findings.add(Kind::Doubled, || {
                format!("{} of {stream} was told to {whom}, and is not there", name(n))
            });
        }
        for n in compared.out_of_order {
            findings.add(Kind::OutOfOrder, || {
                format!(
                    "{} of {stream} was told to {whom} in another place than it lies in",
                    name(n)
                )
            });
        }
    }
    if follow.missing() > 0 && findings.total() == before {
        let count = follow.missing();
        findings
            .add(Kind::Lost, || format!("{count} events of {stream} were never told to {whom}"));
    }
}

/// New subscribers go on from where each began, or from so many events before the end; from where several
/// would, one does for all.
async fn resume(
    world: &Arc<World>,
    crowd: &Crowd,
    tops: &HashMap<String, u64>,
    conversations: &HashMap<String, Vec<(u64, u64)>>,
    findings: &mut Findings,
) -> io::Result<(u64, Vec<String>)> {
    let mut cursors: BTreeMap<(usize, &str, &str, u64), &Follow> = BTreeMap::new();
    for member in &crowd.members {
        let of_conversations =
            member.follows.iter().filter(|follow| follow.stream.starts_with("c:"));
        for follow in of_conversations.filter(|follow| follow.begun) {
            let top = tops.get(&follow.stream).copied().unwrap_or_default();
            let start = follow.start.max(top.saturating_sub(RESUMED));
            let key = (member.tenant, follow.stream.as_str(), follow.epoch.as_str(), start);
            cursors.insert(key, follow);
        }
    }
    // A socket follows a stream once: each cursor of it is another socket's.
    let mut members: Vec<(usize, Vec<Follow>)> = Vec::new();
    for ((tenant, stream, _, start), follow) in cursors {
        let has_room = |(of, follows): &&mut (usize, Vec<Follow>)| {
            *of == tenant
                && follows.len() < STREAMS
                && follows.iter().all(|other| other.stream != stream)
        };
        match members.iter_mut().rev().find(has_room) {
            Some((_, follows)) => follows.push(follow.anew(start)),
            None => members.push((tenant, vec![follow.anew(start)])),
        }
    }
    let mut again = Crowd::new(world, members, 0, false)?;
    let (tops, patience) = (tops.clone(), Duration::from_secs_f64(world.scenario.phases.patience));
    let again = spawn_blocking(move || {
        again.gather(RAMP, patience.max(AGAIN))?;
        again.listen_up_to(&tops, patience)?;
        Ok::<_, io::Error>(again)
    });
    let mut again = again.await.map_err(io::Error::other)??;
    findings.join(std::mem::take(&mut again.seen.findings));
    let mut notes = Vec::new();
    if again.seen.begun_anew > 0 {
        let count = again.seen.begun_anew;
        notes.push(format!(
            "{count} conversations could not be gone on with from where subscribers began: what is \
             there was compared by REST alone; raise `limits.replay_events` and `limits.replay_bytes`"
        ));
    } else {
        for follow in again.members.iter().flat_map(|member| &member.follows) {
            of_follow(world, follow, "one who resumes", conversations, findings);
        }
    }
    Ok((again.seen.events, notes))
}
