//! One proxied connection.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    Order, Phase, Rule, Shared, Then,
    effect::{self, LOOK_BACK},
};

/// How long the server's side of a dead connection stays open, if the server doesn't end it.
const LINGER: Duration = Duration::from_secs(4);

/// What happens to the bytes of this connection.
enum State {
    /// They pass.
    Open,
    /// From an effect on, what the client sent waits here.
    Request { rule: Rule, pending: Vec<u8> },
    /// From an effect's reply on, what the server sent waits here.
    Reply { rule: Rule, withheld: Vec<u8> },
    /// Nobody listens on the client's side any more; the server's side is open until then.
    Dead,
}

struct Link<'a> {
    number: u64,
    shared: &'a Shared,
    state: State,
    /// The end of what the client sent so far.
    tail: Vec<u8>,
    client: OwnedWriteHalf,
    server: OwnedWriteHalf,
    /// A held request goes to the server, and a dead link ends, at this moment.
    due: Option<Instant>,
    /// Counted as late.
    is_late: bool,
}

impl Drop for Link<'_> {
    fn drop(&mut self) {
        self.arrived();
    }
}

/// The link goes on, or it is over.
enum Next {
    On,
    Over,
}

pub(super) async fn run(client: TcpStream, server: TcpStream, number: u64, shared: &Shared) {
    let (mut from_client, client) = client.into_split();
    let (mut from_server, server) = server.into_split();
    let mut orders = shared.orders.subscribe();
    let mut link = Link {
        number,
        shared,
        state: State::Open,
        tail: Vec::new(),
        client,
        server,
        due: None,
        is_late: false,
    };
    let (mut up, mut down) = (vec![0; 1 << 14], vec![0; 1 << 14]);
    let mut client_open = true;
    loop {
        let due = link.due.unwrap_or_else(|| Instant::now() + LINGER);
        let next = tokio::select! {
            read = read(&mut from_client, &mut up), if client_open => match read {
                Some(count) => link.upward(&up[..count], &mut orders).await,
                None => {
                    client_open = false;
                    link.client_gone()
                }
            },
            read = read(&mut from_server, &mut down) => match read {
                Some(count) => link.downward(&down[..count]).await,
                None => Next::Over,
            },
            changed = orders.changed() => match changed {
                Ok(()) => {
                    let order = *orders.borrow_and_update();
                    link.obey(order).await
                }
                Err(_) => Next::Over,
            },
            () = sleep_until(due), if link.due.is_some() => link.fall_due().await,
        };
        if matches!(next, Next::Over) {
            return;
        }
    }
}

/// `None` at the end, however it came.
async fn read(from: &mut OwnedReadHalf, into: &mut [u8]) -> Option<usize> {
    match from.read(into).await {
        Ok(0) | Err(_) => None,
        Ok(count) => Some(count),
    }
}

impl Link<'_> {
    async fn upward(&mut self, bytes: &[u8], orders: &mut watch::Receiver<Order>) -> Next {
        match &mut self.state {
            State::Request { pending, .. } => {
                pending.extend_from_slice(bytes);
                return Next::On;
            }
            State::Dead => return Next::On,
            State::Open | State::Reply { .. } => {}
        }
        let known = self.tail.len();
        self.tail.extend_from_slice(bytes);
        let found = effect::account(self.shared.system, &self.tail, known);
        let keep = self.tail.len().saturating_sub(LOOK_BACK);
        self.tail.drain(..keep);
        let Some((account, _)) = found else {
            return self.pass_up(bytes).await;
        };

        // Orders that were given before this effect don't speak of it.
        orders.mark_unchanged();
        match self.shared.catch(&account) {
            Some(rule) if rule.phase == Phase::Request => {
                self.shared.fly(self.number, &account, Phase::Request);
                self.state = State::Request {
                    rule,
                    pending: bytes.to_vec(),
                };
                self.shared.sight(&account, Phase::Request);
                Next::On
            }
            Some(rule) if rule.phase == Phase::Reply => {
                self.shared.fly(self.number, &account, Phase::AtServer);
                self.state = State::Reply {
                    rule,
                    withheld: Vec::new(),
                };
                self.pass_up(bytes).await
            }
            caught => {
                self.shared.fly(self.number, &account, Phase::AtServer);
                let next = self.pass_up(bytes).await;
                if caught.is_some() {
                    self.shared.sight(&account, Phase::AtServer);
                }
                next
            }
        }
    }

    async fn downward(&mut self, bytes: &[u8]) -> Next {
        match &mut self.state {
            State::Reply { rule, withheld } => {
                if withheld.is_empty() {
                    self.shared.fly(self.number, &rule.account, Phase::Reply);
                    self.shared.sight(&rule.account, Phase::Reply);
                }
                withheld.extend_from_slice(bytes);
                Next::On
            }
            State::Dead => Next::On,
            State::Open | State::Request { .. } => {
                let next = over_if(self.client.write_all(bytes).await.is_err());
                if matches!(self.state, State::Open) {
                    self.shared.land(self.number);
                }
                next
            }
        }
    }

    /// Only what is held outlives the client.
    fn client_gone(&mut self) -> Next {
        match self.state {
            State::Open => Next::Over,
            State::Request { .. } | State::Reply { .. } | State::Dead => Next::On,
        }
    }

    async fn obey(&mut self, order: Order) -> Next {
        match (order, &mut self.state) {
            (_, State::Open | State::Dead) | (Order::Hold, _) => Next::On,
            (Order::Cut, _) => Next::Over,
            (Order::Killed, State::Request { rule, .. }) => {
                self.shared.land(self.number); // nobody of ours waits for it any more
                match rule.then {
                    Then::Late(after) => {
                        self.due = Some(Instant::now() + after);
                        self.is_late = true;
                        self.shared.late.fetch_add(1, Ordering::Relaxed);
                    }
                    Then::Lost => self.die(),
                }
                Next::On
            }
            (Order::Killed, State::Reply { rule, .. }) => match rule.then {
                Then::Late(_) => Next::Over,
                Then::Lost => {
                    self.die();
                    Next::On
                }
            },
            (Order::Release, State::Request { pending, .. }) => {
                let bytes = std::mem::take(pending);
                self.state = State::Open;
                self.pass_up(&bytes).await
            }
            (Order::Release, State::Reply { withheld, .. }) => {
                let bytes = std::mem::take(withheld);
                self.state = State::Open;
                self.shared.land(self.number);
                over_if(self.client.write_all(&bytes).await.is_err())
            }
        }
    }

    /// The moment of a late request, or the end of a dead link.
    async fn fall_due(&mut self) -> Next {
        match &mut self.state {
            State::Request { pending, .. } => {
                let bytes = std::mem::take(pending);
                self.die();
                let next = self.pass_up(&bytes).await;
                self.arrived();
                next
            }
            _ => Next::Over,
        }
    }

    /// What was late is late no more, or never comes.
    fn arrived(&mut self) {
        if std::mem::take(&mut self.is_late) {
            self.shared.late.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn die(&mut self) {
        self.shared.land(self.number);
        self.state = State::Dead;
        self.due = Some(Instant::now() + LINGER);
    }

    async fn pass_up(&mut self, bytes: &[u8]) -> Next {
        over_if(self.server.write_all(bytes).await.is_err())
    }
}

fn over_if(failed: bool) -> Next {
    if failed { Next::Over } else { Next::On }
}
