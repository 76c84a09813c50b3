//! The control listener's machine: requests out of any bytes, the same ones in any cut.

use omnicast::control::http::{Answer, Client, Reply, Secret};

const BODY_MAX: usize = 1000;

/// A request as it was handed out.
#[derive(Debug, PartialEq)]
struct Served {
    method: String,
    target: String,
    body: Vec<u8>,
}

fn take(client: &mut Client, wire: &mut Vec<u8>) {
    let unsent = client.unsent().to_vec();
    client.advance_sent(unsent.len());
    wire.extend(unsent);
}

/// What was handed out of `input` in steps, and what was answered.
fn serve(input: &[u8], step: usize, secret: Option<Secret>) -> (Vec<Served>, Vec<u8>) {
    let mut client = Client::new(BODY_MAX, secret);
    let (mut served, mut wire) = (Vec::new(), Vec::new());
    let mut tickets = Vec::new();
    let pieces = input.chunks(step).map(Some).chain([None]);
    for piece in pieces {
        match piece {
            Some(piece) => client.handle_bytes(piece),
            None => client.handle_end(),
        }
        let mut polls = 0;
        while client.poll_request(|request| {
            let head = &request.head;
            assert!(request.body.len() <= BODY_MAX);
            served.push(Served {
                method: head.method.into(),
                target: head.target.into(),
                body: request.body.into(),
            });
            let answer = Answer::json(200, "{}");
            match head.path() {
                "/later" => Reply::Later,
                "/once" => {
                    tickets.push(tickets.len() as u64);
                    Reply::Once(tickets.len() as u64 - 1, answer)
                }
                _ => Reply::Now(answer),
            }
        }) {
            polls += 1;
            assert!(polls <= input.len() + 1, "each request takes bytes");
            if client.is_waiting() {
                client.answer(&Answer::json(202, "{}"));
            }
            take(&mut client, &mut wire);
        }
        take(&mut client, &mut wire);
    }
    for ticket in tickets {
        client.settle(ticket, (ticket % 2 == 1).then(|| Answer::json(503, "{}")).as_ref());
        take(&mut client, &mut wire);
    }
    assert!(client.is_done() && client.is_flushed(), "nothing is owed after the end");
    (served, wire)
}

/// The statuses of the answers in `wire`, which must be whole.
fn statuses(mut wire: &[u8], served: &[Served]) -> Vec<u16> {
    let mut statuses = Vec::new();
    while !wire.is_empty() {
        let end = wire.windows(4).position(|w| w == b"\r\n\r\n").expect("a head ends") + 4;
        let head = std::str::from_utf8(&wire[..end]).expect("our heads are ASCII");
        let status: u16 = head.strip_prefix("HTTP/1.1 ").expect("HTTP")[..3].parse().unwrap();
        wire = &wire[end..];
        if status == 100 {
            continue;
        }
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
        let length: usize = length.parse().unwrap();
        let is_head = served.get(statuses.len()).is_some_and(|request| request.method == "HEAD");
        wire = &wire[if is_head { 0 } else { length }..];
        statuses.push(status);
    }
    statuses
}

pub fn run(data: &[u8]) {
    let [first, input @ ..] = data else { return };
    let secret = (first & 1 == 1).then(|| Secret::new(b"a token"));
    let (served, wire) = serve(input, usize::MAX, secret);
    let said = statuses(&wire, &served);
    assert!(said[served.len()..].iter().all(|status| (400..500).contains(status)), "{said:?}");
    assert!(said.len() <= served.len() + 1, "one refusal, and it is the last word");
    if secret.is_some() && !input.windows(7).any(|w| w == b"a token") {
        assert!(served.is_empty(), "nobody is served without the token");
    }
    for step in [1 + usize::from(first >> 1), 1] {
        let (again, wire) = serve(input, step, secret);
        assert_eq!(again, served, "in steps of {step}");
        assert_eq!(statuses(&wire, &again), said, "in steps of {step}");
    }
}
