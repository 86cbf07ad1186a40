//! What the two hot paths cost, in instructions of the real program as callgrind counts them: neither
//! time nor other processes move them. A step above `figures.toml` fails.

#[cfg(test)]
mod counted;
#[cfg(test)]
mod desk;
#[cfg(test)]
mod figures;

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::counted::Counted;
    use super::desk::Desk;
    use super::figures::holds;

    /// Who writes, in turn: after the first time nobody is new, and nobody writes again so soon that the
    /// tree is spared what was written before.
    const CUSTOMERS: usize = 100;
    /// Who follows one conversation, each on a socket.
    const FOLLOWERS: usize = 1000;

    #[tokio::test]
    async fn a_webhook_costs_no_more_than_it_did() {
        let cost = each("webhook", CUSTOMERS..600, async |desk, webhooks| {
            for n in 0..webhooks {
                desk.writes(n % CUSTOMERS).await;
            }
        });
        holds("webhook", cost.await);
    }

    #[tokio::test]
    async fn an_event_to_a_thousand_sockets_costs_no_more_than_it_did() {
        let cost = each("event", 4..24, async |desk, events| {
            desk.writes(0).await;
            let mut followers = desk.follow(FOLLOWERS).await;
            for _ in 0..events {
                let text = desk.writes(0).await;
                // One by one: nobody is sent two events at once.
                for follower in &mut followers {
                    follower.is_told(&text).await;
                }
            }
        });
        holds("event", cost.await);
    }

    /// What one more costs: the program does so many, started anew does more, and what both have
    /// done is taken away. `None`: nothing can be counted here.
    async fn each(
        name: &str,
        items: Range<usize>,
        work: impl AsyncFn(&Desk, usize),
    ) -> Option<u64> {
        let mut counts = Vec::new();
        for many in [items.start, items.end] {
            let program = Counted::start(name).await?;
            work(&Desk::found(&program.url).await, many).await;
            counts.push(program.end().await);
        }
        Some((counts[1] - counts[0]) / items.len() as u64)
    }
}
