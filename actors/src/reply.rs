//! Where a command's answer goes; and chains: commands of which none may be done when one before
//! it was not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::conversation::Answer;
use tokio::sync::oneshot;

use crate::failure::Failure;

/// What is answered.
pub type Answered = Result<Answer, Failure>;

/// Where the answer of a command goes.
pub struct Reply {
    to: oneshot::Sender<Answered>,
    link: Option<Link>,
}

/// Commands that are sent one behind the other, before the first is answered: when one fails, or
/// is lost, those behind it are not done either. So they can be sent again in their order.
#[derive(Clone, Default)]
pub struct Chain(Arc<AtomicBool>);

/// A command's part in a chain, which breaks when it is dropped without being held.
struct Link(Option<Chain>);

impl Reply {
    /// One of its own, and where its answer arrives.
    pub fn new() -> (Self, oneshot::Receiver<Answered>) {
        let (to, answer) = oneshot::channel();
        (Self { to, link: None }, answer)
    }

    /// The next one of a chain.
    pub fn of(chain: &Chain) -> (Self, oneshot::Receiver<Answered>) {
        let (to, answer) = oneshot::channel();
        (Self { to, link: Some(Link(Some(chain.clone()))) }, answer)
    }

    /// Answers.
    pub fn send(self, answer: Answered) {
        // A refusal is the end of a command, as doing it is: what comes behind it goes on. What is
        // parked is in nobody's way but its own thread's, which refuses what comes behind it.
        if let Some(mut link) = self.link
            && matches!(answer, Ok(_) | Err(Failure::Refused(_) | Failure::Parked))
        {
            link.0 = None;
        }
        // Whoever asked may have gone.
        let _ = self.to.send(answer);
    }

    /// Whether one before it in its chain was not done: it must not be, either.
    pub fn is_broken(&self) -> bool {
        let chain = self.link.as_ref().and_then(|link| link.0.as_ref());
        chain.is_some_and(|Chain(broken)| broken.load(Ordering::Acquire))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(Chain(broken)) = self.0.take() {
            broken.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use engine::conversation::Refused;

    use super::{Chain, Reply};
    use crate::failure::Failure;

    #[test]
    fn a_chain_breaks_when_a_command_fails_or_is_lost_and_not_when_it_is_refused() {
        for (answer, breaks) in [
            (Some(Ok(Default::default())), false),
            (Some(Err(Failure::Refused(Refused::NotFound))), false),
            (Some(Err(Failure::Parked)), false),
            (Some(Err(Failure::Unavailable)), true),
            (None, true),
        ] {
            let (chain, other) = (Chain::default(), Chain::default());
            let (first, _) = Reply::of(&chain);
            let ((second, _), (apart, _)) = (Reply::of(&chain), Reply::of(&other));
            assert!(!second.is_broken());
            match answer.clone() {
                Some(answer) => first.send(answer),
                None => drop(first),
            }
            assert_eq!(second.is_broken(), breaks, "{answer:?}");
            assert!(!apart.is_broken());
        }
    }
}
