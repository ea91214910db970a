//! The driver between two in-memory pipes.

use std::pin::pin;
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::DuplexStream;
use tokio::io::duplex;
use tokio::task::JoinHandle;
use tokio::task::coop::consume_budget;
use tokio::task::coop::has_budget_remaining;
use tokio::time::timeout;

use super::*;
use crate::net::tls::testing::tls_pair;
use crate::session::relay::Options;

impl Client for DuplexStream {
    fn hears_last(&mut self) {}
}

struct Session {
    client: DuplexStream,
    backend: DuplexStream,
    orders: oneshot::Sender<Order>,
    task: JoinHandle<EndReason>,
}

/// A session between two that are logged in, in which nothing has been said.
fn relayed<C: Client>(
    client: C,
    backend: DuplexStream,
    orders: oneshot::Receiver<Order>,
    deadlines: Deadlines,
) -> impl Future<Output = (Outcome, C)> {
    let relay = Relay::new(Arc::new(Options::default()));
    run(
        (client, Vec::new()),
        (backend, Vec::new()),
        (relay, Vec::new(), Box::new(|_| {})),
        orders,
        deadlines,
    )
}

fn start(buffer: usize, deadlines: Deadlines) -> Session {
    let (client, ours) = duplex(buffer);
    let (backend, theirs) = duplex(buffer);
    let (orders, receiver) = oneshot::channel();
    let session = relayed(ours, theirs, receiver, deadlines);
    let task = tokio::spawn(async move { session.await.0.reason });
    Session {
        client,
        backend,
        orders,
        task,
    }
}

async fn read(side: &mut DuplexStream, text: &str) {
    let mut bytes = vec![0; text.len()];
    timeout(Duration::from_secs(3600), side.read_exact(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), text);
}

#[tokio::test]
async fn large_messages_pass_both_ways_through_small_pipes() {
    let mut session = start(1000, Deadlines::default());
    let body = vec![b'x'; 3_000_000];
    session
        .client
        .write_all(b"a APPEND x {3000000+}\r\n")
        .await
        .unwrap();
    read(&mut session.backend, "a APPEND x {3000000}\r\n").await;
    session.backend.write_all(b"+ go\r\n").await.unwrap();
    let (mut from_client, mut to_client) = tokio::io::split(session.client);
    let sent = body.clone();
    let writer = tokio::spawn(async move {
        to_client.write_all(&sent).await.unwrap();
        to_client.write_all(b"\r\n").await.unwrap();
        to_client
    });
    let mut received = vec![0; body.len() + 2];
    session.backend.read_exact(&mut received).await.unwrap();
    assert_eq!(received[..body.len()], body);
    let response = [
        b"* 1 FETCH (BODY[] {3000000}\r\n".as_slice(),
        &body,
        b")\r\na OK\r\n",
    ]
    .concat();
    let expected = response.clone();
    let backend = tokio::spawn(async move {
        session.backend.write_all(&response).await.unwrap();
        session.backend
    });
    let mut received = vec![0; expected.len()];
    from_client.read_exact(&mut received).await.unwrap();
    assert!(received == expected);
    drop((writer.await.unwrap(), from_client));
    assert_eq!(session.task.await.unwrap(), EndReason::ClientClosed);
    drop(backend.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_for_31_minutes_is_told_and_let_go() {
    let mut session = start(1000, Deadlines::default());
    session.client.write_all(b"a IDLE\r\n").await.unwrap();
    read(&mut session.backend, "a IDLE\r\n").await;
    session.backend.write_all(b"+ idling\r\n").await.unwrap();
    read(&mut session.client, "+ idling\r\n").await;
    tokio::time::sleep(Duration::from_secs(30 * 60)).await;
    session.backend.write_all(b"* 4 EXISTS\r\n").await.unwrap();
    read(&mut session.client, "* 4 EXISTS\r\n").await;
    assert!(!session.task.is_finished());
    read(&mut session.client, "* BYE Idle for too long\r\n").await;
    assert_eq!(session.task.await.unwrap(), EndReason::IdleTimeout);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_let_go() {
    let mut session = start(1000, Deadlines::default());
    session
        .backend
        .write_all(&[b"* OK x\r\n".as_slice(); 200].concat()[..999])
        .await
        .unwrap();
    let flood =
        tokio::spawn(async move { while session.backend.write_all(b"* OK more\r\n").await.is_ok() {} });
    assert_eq!(session.task.await.unwrap(), EndReason::ClientStalled);
    drop(session.client);
    flood.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_the_answer_that_is_owed() {
    let mut session = start(1000, Deadlines::default());
    session
        .client
        .write_all(b"a STORE 1 +FLAGS (x)\r\n")
        .await
        .unwrap();
    read(&mut session.backend, "a STORE 1 +FLAGS (x)\r\n").await;
    session
        .orders
        .send(Order::Drain(Instant::now() + Duration::from_secs(30)))
        .unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!session.task.is_finished());
    session.backend.write_all(b"a OK done\r\n").await.unwrap();
    read(
        &mut session.client,
        "a OK done\r\n* BYE [UNAVAILABLE] Server is shutting down\r\n",
    )
    .await;
    assert_eq!(session.task.await.unwrap(), EndReason::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_at_its_deadline_whatever_the_backend_does() {
    let mut session = start(1000, Deadlines::default());
    session.client.write_all(b"a NOOP\r\n").await.unwrap();
    read(&mut session.backend, "a NOOP\r\n").await;
    session
        .orders
        .send(Order::Drain(Instant::now() + Duration::from_secs(30)))
        .unwrap();
    assert_eq!(session.task.await.unwrap(), EndReason::Shutdown);
}

#[tokio::test]
async fn an_order_ends_a_session_at_once() {
    let mut session = start(1000, Deadlines::default());
    session.orders.send(Order::End(EndReason::Revoked)).unwrap();
    read(&mut session.client, "* BYE Session ended by the server\r\n").await;
    assert_eq!(session.task.await.unwrap(), EndReason::Revoked);
}

/// Where its turn is used up, neither a timer nor a channel keeps the task's waker: it is polled again, and must ask them then.
#[tokio::test(start_paused = true)]
async fn orders_and_deadlines_reach_a_session_whose_first_turn_was_used_up() {
    for (order, reason) in [
        (Some(Order::End(EndReason::Killed)), EndReason::Killed),
        (None, EndReason::IdleTimeout),
    ] {
        let (_client, ours) = duplex(1000);
        let (_backend, theirs) = duplex(1000);
        let (orders, receiver) = oneshot::channel();
        let session = relayed(ours, theirs, receiver, Deadlines::default());
        let task = tokio::spawn(async move {
            let mut session = pin!(session);
            let mut is_first = true;
            let turn = poll_fn(|cx| {
                while std::mem::take(&mut is_first) && has_budget_remaining() {
                    is_first = pin!(consume_budget()).poll(cx).is_ready();
                }
                session.as_mut().poll(cx)
            });
            turn.await.0.reason
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        // An order ends it at once, and not when its timer happens to go off.
        let (kept, within) = match order {
            Some(order) => {
                orders.send(order).unwrap();
                (None, Duration::from_secs(1))
            }
            None => (Some(orders), Duration::from_secs(31 * 60)),
        };
        let ended = timeout(within, task).await;
        assert_eq!(ended.unwrap().unwrap(), reason);
        drop(kept);
    }
}

#[tokio::test]
async fn answers_still_reach_a_client_that_has_closed_its_side() {
    let mut session = start(1000, Deadlines::default());
    session.client.write_all(b"a NOOP\r\nb LOGOUT\r\n").await.unwrap();
    session.client.shutdown().await.unwrap();
    read(&mut session.backend, "a NOOP\r\nb LOGOUT\r\n").await;
    session
        .backend
        .write_all(b"a OK\r\n* BYE\r\nb OK\r\n")
        .await
        .unwrap();
    read(&mut session.client, "a OK\r\n* BYE\r\nb OK\r\n").await;
    assert_eq!(session.task.await.unwrap(), EndReason::Logout);
}

/// The answer to LOGOUT waits for TLS's goodbye, and nothing is lost of what came with it.
#[tokio::test]
async fn the_last_answers_reach_a_tls_client_with_the_goodbye() {
    for size in [10, 3_000_000] {
        let (ours, mut client) = tls_pair().await;
        let (mut backend, theirs) = duplex(8_000_000);
        let (_orders, receiver) = oneshot::channel();
        let session = relayed(ours, theirs, receiver, Deadlines::default());
        let task = tokio::spawn(async move {
            let (outcome, ours) = session.await;
            ours.close(Duration::from_secs(60)).await;
            outcome.reason
        });
        client
            .write_all(b"a FETCH 1 BODY[]\r\nb LOGOUT\r\n")
            .await
            .unwrap();
        client.flush().await.unwrap();
        read(&mut backend, "a FETCH 1 BODY[]\r\nb LOGOUT\r\n").await;
        let body = "x".repeat(size);
        let answers = format!("* 1 FETCH (BODY[] {{{size}}}\r\n{body})\r\na OK\r\n* BYE\r\nb OK\r\n");
        backend.write_all(answers.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        // Without a goodbye this would be an error.
        client.read_to_end(&mut heard).await.unwrap();
        assert!(heard == answers.as_bytes(), "{} bytes", heard.len());
        client.shutdown().await.unwrap();
        drop(client);
        assert_eq!(task.await.unwrap(), EndReason::Logout);
    }
}

#[tokio::test]
async fn a_backend_that_dies_in_the_middle_of_a_response_ends_the_session_without_a_word() {
    let mut session = start(1000, Deadlines::default());
    session
        .backend
        .write_all(b"* 1 FETCH (BODY[] {10}\r\nab")
        .await
        .unwrap();
    drop(session.backend);
    let mut all = String::new();
    session.client.read_to_string(&mut all).await.unwrap();
    assert_eq!(all, "* 1 FETCH (BODY[] {10}\r\nab");
    assert_eq!(session.task.await.unwrap(), EndReason::BackendClosed);
}

/// What a session costs while it waits, beside its sockets and what TLS needs: the goal is 2 KiB.
#[test]
fn the_state_of_a_relayed_session_is_small() {
    fn future<A, B, C, O, D, F>(_: impl FnOnce(A, B, C, O, D) -> F) -> usize {
        size_of::<F>()
    }
    let size = future(run::<Stream, Stream>);
    assert!(size <= 1152, "{size}");
    let driver = size_of::<Driver<Stream, Stream>>();
    assert!(size <= driver + 64, "{size} for {driver}");
}
