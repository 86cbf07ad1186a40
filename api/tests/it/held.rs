//! A store that holds some writes back, so that other things happen before they are done.

use std::sync::{Arc, Mutex};

use config::Config;
use storage::faulty::{Fate, Faulty, Held, Write};
use storage::memory::Memory;
use tokio::sync::mpsc;

use crate::harness::{RUNTIME, Server, graph};

type Which = Box<dyn Fn(&Write) -> bool + Send>;

/// The writes that are held back.
pub(crate) struct Writes {
    which: Arc<Mutex<Which>>,
    held: mpsc::UnboundedReceiver<Held>,
}

/// A server whose writes are done as they come, until some are to be held back.
pub(crate) async fn server(differ: impl FnOnce(&mut Config)) -> (Arc<Server>, Writes) {
    let clock = actors::clock::Clock::system();
    let memory = Memory::new(Arc::new(move || clock.now()));
    let (store, mut all) = Faulty::stepped(Arc::new(memory));
    let none: Which = Box::new(|_| false);
    let which = Arc::new(Mutex::new(none));
    let (hold, held) = mpsc::unbounded_channel();
    let is_held = which.clone();
    // It goes on while a test waits for its server to stop.
    RUNTIME.spawn(async move {
        while let Some(write) = all.next().await {
            if is_held.lock().unwrap()(&write.write) {
                // A test that has ended waits for none.
                let _ = hold.send(write);
            } else {
                write.meet(Fate::Done).await;
            }
        }
    });
    let store = Arc::new(store.promising_as_below());
    let server = Server::new(graph(), differ, Some(store)).await;
    (server, Writes { which, held })
}

impl Writes {
    /// From now on these are held back.
    pub(crate) fn hold(&self, which: impl Fn(&Write) -> bool + Send + 'static) {
        *self.which.lock().unwrap() = Box::new(which);
    }

    /// The next that is held back.
    pub(crate) async fn next(&mut self) -> Held {
        self.held.recv().await.unwrap()
    }

    /// Does this one, and holds no more back.
    pub(crate) async fn go_on(&self, with: Held) {
        self.hold(|_| false);
        with.meet(Fate::Done).await;
    }
}
