//! What can go wrong at a provider, and what is to become of it.
//!
//! The outcomes are those of a deployment whose tokens cost 1 (read), 2 (written) and 0.5 (cached) millionths of a dollar,
//! that is asked at most three times, waits 200 ms for a first and 150 ms for a next token and 1.5 s in all, does not wait
//! longer than 1 s because it was told to, and whose breaker opens when three calls in a row failed. The prompt has 34 bytes,
//! which counts as 9 tokens where the provider does not say; the answer may have 64 tokens.

use std::time::Duration;

use super::{End, Reply, Step, Wire};

/// A provider's behaviour and its outcome.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) name: &'static str,
    pub(crate) wire: Wire,
    /// What each request is answered with, the last over and over.
    pub(crate) replies: Vec<Reply>,
    /// The text that the caller gets.
    pub(crate) text: String,
    /// How it ends.
    pub(crate) ended: Ended,
    /// Requests that arrive at the provider.
    pub(crate) attempts: u32,
    /// What is settled, in millionths of a dollar.
    pub(crate) cost: u64,
    /// Whether the breaker is open afterwards.
    pub(crate) opens: bool,
    /// Whether the tokens are the provider's own figures; `None` if there is no usage.
    pub(crate) reported: Option<bool>,
}

/// How a call ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    Done(End),
    /// An error of this variant, whose text has these words.
    Failed(&'static str, &'static str),
}

const TEXT: &str = "Hello, Größe \u{1f993}!";
/// What 9 tokens of the prompt and no answer cost.
const PROMPT: u64 = 9;
/// What 10 tokens read and 5 written cost.
const WHOLE: u64 = 20;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// These bytes over and over, for 400 ms.
fn eight_times(bytes: &[u8]) -> Vec<Step> {
    (0..8).flat_map(|_| [Step::Send(bytes.to_vec()), Step::Wait(ms(50))]).collect()
}

/// All scripts in this wire format.
pub(crate) fn scripts(wire: Wire) -> Vec<Script> {
    let mut all = arrives(wire);
    all.extend(is_refused(wire));
    all.extend(breaks_before(wire));
    all.extend(breaks_within(wire));
    all.extend(counts(wire));
    all.extend(match wire {
        Wire::OpenAi => of_openai(),
        Wire::Anthropic => of_anthropic(),
    });
    all
}

fn fine(wire: Wire, name: &'static str, replies: Vec<Reply>) -> Script {
    let (text, ended) = (TEXT.to_owned(), Ended::Done(End::Stop));
    Script { name, wire, replies, text, ended, attempts: 1, cost: WHOLE, opens: false, reported: Some(true) }
}

fn failed(
    wire: Wire,
    name: &'static str,
    replies: Vec<Reply>,
    (variant, words): (&'static str, &'static str),
    attempts: u32,
    cost: u64,
) -> Script {
    let ended = Ended::Failed(variant, words);
    Script { name, wire, replies, text: String::new(), ended, attempts, cost, opens: false, reported: None }
}

/// A whole reply in one piece of bytes.
fn whole(wire: Wire) -> Vec<u8> {
    [wire.start(10, 0), wire.delta("Hello, "), wire.delta("Größe \u{1f993}!"), wire.end(End::Stop, 10, 5)].concat()
}

fn good(wire: Wire) -> Reply {
    Reply::stream().send(whole(wire))
}

/// A reply whose text begins and is not whole.
fn begun(wire: Wire) -> Reply {
    Reply::stream().send(wire.start(10, 0)).send(wire.delta("Hello, "))
}

/// What a reply that broke off after "Hello, " costs: Anthropic has said what it read.
fn begun_cost(wire: Wire) -> u64 {
    let read = match wire {
        Wire::OpenAi => PROMPT,
        Wire::Anthropic => 10,
    };
    read + 2 * 2
}

fn arrives(wire: Wire) -> Vec<Script> {
    let fine = |name, replies| fine(wire, name, replies);
    let bytes = whole(wire);
    let text = String::from_utf8(bytes.clone()).unwrap();
    let split =
        |at: usize| Reply::stream().send(bytes[..at].to_vec()).then(Step::Wait(ms(5))).send(bytes[at..].to_vec());
    let inside = text.find('\u{1f993}').unwrap() + 2;
    let unknown = match wire {
        Wire::OpenAi => b"data: {\"later\": {\"new\": 1}}\n\nevent: later\ndata: {\"choices\": []}\n\n".to_vec(),
        Wire::Anthropic => b"event: later\ndata: {\"type\": \"later\", \"new\": 1}\n\n".to_vec(),
    };
    let drip = ["Hello, ", "Größe", " ", "\u{1f993}", "!"]
        .into_iter()
        .fold(Reply::stream().send(wire.start(10, 0)), |reply, piece| {
            reply.then(Step::Wait(ms(60))).send(wire.delta(piece))
        });
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let raw = |bytes: Vec<u8>| Reply(vec![Step::Raw(bytes), Step::Cut]);
    let mut pretty = Reply::stream();
    for event in text.split_terminator("\n\n") {
        let (rest, data) = event.split_once("data: ").unwrap();
        let lines = data.replacen(",\"", ",\ndata: \"", 1);
        pretty = pretty.send(format!("{rest}data: {lines}\n\n").into_bytes());
    }
    vec![
        fine("a plain reply", vec![good(wire)]),
        fine("one byte a chunk", vec![bytes.iter().fold(Reply::stream(), |reply, byte| reply.send(vec![*byte]))]),
        fine("a character in two chunks", vec![split(inside)]),
        fine("an event in two chunks", vec![split(text.find("Hello").unwrap() + 3)]),
        fine("line ends of two bytes", vec![Reply::stream().send(text.replace('\n', "\r\n").into_bytes())]),
        fine("no blank behind the colon", vec![Reply::stream().send(text.replace("data: ", "data:").into_bytes())]),
        fine("a byte order mark", vec![Reply::stream().send("\u{feff}".into()).send(bytes.clone())]),
        fine("an event of several lines", vec![pretty]),
        fine(
            "comments keep it alive",
            vec![
                Reply::stream().send(b": ping\n\n".to_vec()).send(text.replace("\n\n", "\n\n: ping\n\n").into_bytes()),
            ],
        ),
        fine("events that nobody knows", vec![Reply::stream().send(unknown.clone()).send(bytes.clone()).send(unknown)]),
        fine("a slow drip", vec![drip.send(wire.end(End::Stop, 10, 5))]),
        fine("more after the end", vec![good(wire).send(wire.delta("and more"))]),
        fine("a body that ends with the connection", vec![raw([&head[..], &bytes].concat())]),
        fine(
            "a head in two pieces",
            vec![Reply(vec![
                Step::Raw(head[..20].to_vec()),
                Step::Wait(ms(20)),
                Step::Raw([&head[20..], &bytes].concat()),
                Step::Cut,
            ])],
        ),
        Script { cost: WHOLE, ..fine("never closed after the end", vec![good(wire).then(Step::Hang)]) },
        Script {
            text: "ha ha ".to_owned(),
            ..fine(
                "the same delta twice",
                vec![
                    Reply::stream()
                        .send(wire.start(10, 0))
                        .send(wire.delta("ha "))
                        .send(wire.delta("ha "))
                        .send(wire.end(End::Stop, 10, 5)),
                ],
            )
        },
        Script {
            text: "x".repeat(200_000),
            ..fine(
                "a delta of 200 kB",
                vec![Reply::stream().send(wire.start(10, 0)).send(wire.delta(&"x".repeat(200_000))).send(wire.end(
                    End::Stop,
                    10,
                    5,
                ))],
            )
        },
        Script {
            text: String::new(),
            cost: 10,
            ..fine("an empty answer", vec![Reply::stream().send(wire.start(10, 0)).send(wire.end(End::Stop, 10, 0))])
        },
        Script {
            ended: Ended::Done(End::Length),
            ..fine(
                "cut at its length",
                vec![Reply::stream().send(wire.start(10, 0)).send(wire.delta(TEXT)).send(wire.end(End::Length, 10, 5))],
            )
        },
        Script {
            ended: Ended::Done(End::Filter),
            ..fine(
                "withheld by a filter",
                vec![Reply::stream().send(wire.start(10, 0)).send(wire.delta(TEXT)).send(wire.end(End::Filter, 10, 5))],
            )
        },
        Script {
            ended: Ended::Done(End::Tool),
            text: "<tool look {\"a\":1}>".to_owned(),
            ..fine(
                "a tool is called",
                vec![
                    Reply::stream().send(wire.start(10, 0)).send(wire.tool("look", ["{\"a\"", ":1}"])).send(wire.end(
                        End::Tool,
                        10,
                        5,
                    )),
                ],
            )
        },
    ]
}

fn is_refused(wire: Wire) -> Vec<Script> {
    let body = wire.error("invalid_request_error", "what is said of the zebra?").to_string();
    let long = wire.error("invalid_request_error", "prompt is too long: 300000 tokens > 200000 maximum");
    let status = |status: u16| Reply::status(status, vec![], &body);
    let after = |code: u16, seconds: &str| Reply::status(code, vec![("retry-after", seconds.to_owned())], &body);
    let fine = |name, reply| Script { attempts: 2, ..fine(wire, name, vec![reply, good(wire)]) };
    let failed = |name, reply, expected, attempts| failed(wire, name, vec![reply], expected, attempts, 0);
    let page =
        Reply(vec![Step::Head(200, vec![("content-type", "text/html".to_owned())]), Step::Send(b"<html>".to_vec())]);
    let moved = Reply::status(307, vec![("location", "http://127.0.0.1:9/".to_owned())], "");
    let silent = Reply(vec![Step::Head(429, vec![]), Step::Hang]);
    vec![
        fine("429 and back at once", after(429, "0.05")),
        fine("500 once", status(500)),
        fine("503 and back at once", after(503, "0.02")),
        fine("529 once", status(529)),
        fine("408 once", status(408)),
        failed("429 and back in half a minute", after(429, "30"), ("RateLimited", "retry after 30 s"), 1),
        failed("429 over and over", status(429), ("RateLimited", "429"), 3),
        failed("429 with a date", after(429, "Wed, 21 Oct 2015 07:28:00 GMT"), ("RateLimited", "429"), 3),
        failed("429 whose body never comes", silent, ("RateLimited", "429"), 3),
        Script { opens: true, ..failed("500 over and over", status(500), ("Unavailable", "500"), 3) },
        Script { opens: true, ..failed("a web page", page, ("Unavailable", "web page"), 3) },
        failed("400", status(400), ("Refused", "400"), 1),
        failed("401", status(401), ("Refused", "check api_key"), 1),
        failed("403", status(403), ("Refused", "check api_key"), 1),
        failed("404", status(404), ("Refused", "check base_url"), 1),
        failed("307", moved, ("Refused", "redirects are not followed"), 1),
        failed("413", status(413), ("TooLong", "413"), 1),
        failed("400 for its length", Reply::status(400, vec![], &long.to_string()), ("TooLong", "fewer sources"), 1),
    ]
}

fn breaks_before(wire: Wire) -> Vec<Script> {
    let once =
        |name, steps| Script { attempts: 2, cost: PROMPT + WHOLE, ..fine(wire, name, vec![Reply(steps), good(wire)]) };
    let always = |name, steps, words| {
        let script = failed(wire, name, vec![Reply(steps)], ("Unavailable", words), 3, 3 * PROMPT);
        Script { opens: true, ..script }
    };
    let head = || Step::Head(200, vec![("content-type", "text/event-stream".to_owned())]);
    let json = || {
        vec![
            Step::Head(200, vec![("content-type", "application/json".to_owned())]),
            Step::Send(b"{\"choices\": []}".to_vec()),
        ]
    };
    let no_first = "no first token within 200 ms";
    vec![
        once("hangs before the head once", vec![Step::Hang]),
        once("hangs behind the head once", vec![head(), Step::Hang]),
        once("reset once", vec![Step::Reset]),
        once("an error event before the text", vec![head(), Step::Send(wire.error_event("server_error", "?"))]),
        always("hangs before the head", vec![Step::Hang], no_first),
        always("hangs behind the head", vec![head(), Step::Hang], no_first),
        always("comments only", [vec![head()], eight_times(b": ping\n\n")].concat(), no_first),
        always("closes at once", vec![Step::Cut], "broke before a reply"),
        always("resets at once", vec![Step::Reset], "broke before a reply"),
        always("no HTTP", vec![Step::Raw(b"what do you want?\r\n\r\n".to_vec()), Step::Cut], "broke before a reply"),
        always("no event at all", vec![head()], "ended before its finish"),
        always("one JSON text", json(), "ended before its finish"),
        always("the head alone and cut", vec![head(), Step::Cut], "connection broke in the middle"),
    ]
}

fn breaks_within(wire: Wire) -> Vec<Script> {
    let broken = |name, reply: Reply, words| {
        let script = failed(wire, name, vec![reply], ("Unavailable", words), 1, begun_cost(wire));
        Script { text: "Hello, ".to_owned(), ..script }
    };
    let begun = || begun(wire);
    let drip = (0..40).fold(begun(), |reply, _| reply.then(Step::Wait(ms(60))).send(wire.delta("x")));
    let limited = wire.error_event(if wire == Wire::OpenAi { "tokens" } else { "rate_limit_error" }, "what is said");
    let keeps = eight_times(b": ping\n\n");
    let huge = wire.delta(&"x".repeat(10 << 20));
    let mut all = vec![
        broken("hangs in the middle", begun().then(Step::Hang), "no next token within 150 ms"),
        broken("comments in the middle", keeps.into_iter().fold(begun(), Reply::then), "no next token within 150 ms"),
        broken("cut in the middle", begun().then(Step::Wait(ms(20))).then(Step::Cut), "connection broke in the middle"),
        broken(
            "reset in the middle",
            begun().then(Step::Wait(ms(50))).then(Step::Reset),
            "connection broke in the middle",
        ),
        broken("ends without a finish", begun(), "ended before its finish"),
        broken("says that it ends without a finish", begun().send(wire.done()), "ended before its finish"),
        broken(
            "JSON that is cut off",
            begun().send(b"data: {\"choices\": [{\"delta\"\n\n".to_vec()),
            "not what was agreed",
        ),
        broken("an event of another kind", begun().send(b"data: [1, 2]\n\n".to_vec()), "not what was agreed"),
        broken("bytes that are no text", begun().send(b"data: \xff\xfe\n\n".to_vec()), "not UTF-8"),
        broken("an event of 10 MB", begun().send(huge), "longer than 1 MiB"),
        broken(
            "an error event in the middle",
            begun().send(wire.error_event("server_error", "?")),
            "error in the middle",
        ),
    ];
    let late = broken("a drip without an end", drip, "no end of the reply within 1500 ms");
    // How many x come in that time depends on the machine: `text` and `cost` are lower bounds.
    all.push(late);
    if wire == Wire::Anthropic {
        let ended = Ended::Failed("RateLimited", "429");
        all.push(Script { ended, ..broken("limited in the middle", begun().send(limited), "") });
        let ended = Ended::Failed("Overloaded", "529");
        let overloaded = wire.error_event("overloaded_error", "Overloaded");
        all.push(Script { ended, ..broken("overloaded in the middle", begun().send(overloaded), "") });
    }
    all
}

fn counts(wire: Wire) -> Vec<Script> {
    // The text has 20 bytes: 5 tokens.
    let begun = || Reply::stream().send(wire.start(10, 0)).send(wire.delta(TEXT));
    let fine = |name, reply: Reply| fine(wire, name, vec![reply]);
    let estimated = |script: Script| Script {
        reported: Some(false),
        cost: 2 * 5 + if wire == Wire::OpenAi { PROMPT } else { 10 },
        ..script
    };
    let mut all = vec![
        estimated(fine("usage that is missing", begun().send(wire.finish(End::Stop)).send(wire.done()))),
        estimated(fine("no usage and no end behind the finish", begun().send(wire.finish(End::Stop)))),
        estimated(fine("cut behind the finish", begun().send(wire.finish(End::Stop)).then(Step::Cut))),
        estimated(fine("more written than allowed", begun().send(wire.end(End::Stop, 10, 1 << 40)))),
        estimated(fine("a text of no tokens", begun().send(wire.end(End::Stop, 10, 0)))),
    ];
    let cached = Reply::stream().send(wire.start(10, 4)).send(wire.delta(TEXT)).send(wire.finish(End::Stop));
    all.push(Script {
        cost: 6 + 2 + 10,
        ..fine("read from the provider's cache", cached.send(wire.usage(10, 4, 5)).send(wire.done()))
    });
    if wire == Wire::OpenAi {
        // What more was read than the prompt has bytes is not believed, what was written is counted too.
        for script in &mut all[3..5] {
            script.cost = 10 + 2 * 5;
        }
        let unread = estimated(fine("more read than the prompt has", begun().send(wire.end(End::Stop, 1 << 40, 5))));
        all.push(unread);
    }
    all
}

fn of_openai() -> Vec<Script> {
    let wire = Wire::OpenAi;
    let end = || wire.end(End::Stop, 10, 5);
    let choice = |delta: &str, finish: &str| {
        format!("data: {{\"choices\": [{{\"index\": 0, \"delta\": {delta}, \"finish_reason\": {finish}}}]}}\n\n")
            .into_bytes()
    };
    let text = || choice(&format!("{{\"content\": \"{TEXT}\"}}"), "null");
    let filters = b"data: {\"choices\": [], \"prompt_filter_results\": [{\"prompt_index\": 0}]}\n\n".to_vec();
    let thoughts = choice("{\"reasoning_content\": \"Hm.\"}", "null");
    let slow = (0..4).fold(Reply::stream(), |reply, _| reply.send(thoughts.clone()).then(Step::Wait(ms(80))));
    let limited = b"data: {\"error\": {\"code\": 429, \"message\": \"what is said\"}}\n\n".to_vec();
    let limited = failed(
        wire,
        "limited in the middle",
        vec![begun(wire).send(limited)],
        ("RateLimited", "429"),
        1,
        begun_cost(wire),
    );
    vec![
        fine(
            wire,
            "what a filter says of the prompt first",
            vec![Reply::stream().send(filters).send(text()).send(end())],
        ),
        fine(
            wire,
            "a finish of its own",
            vec![
                Reply::stream().send(text()).send(choice("{}", "\"eos\"")).send(wire.usage(10, 0, 5)).send(wire.done()),
            ],
        ),
        fine(
            wire,
            "choices that are null",
            vec![Reply::stream().send(b"data: {\"choices\": null}\n\n".to_vec()).send(text()).send(end())],
        ),
        fine(
            wire,
            "the finish with the last delta",
            vec![
                Reply::stream()
                    .send(choice(&format!("{{\"content\": \"{TEXT}\"}}"), "\"stop\""))
                    .send(wire.usage(10, 0, 5))
                    .send(wire.done()),
            ],
        ),
        fine(
            wire,
            "a model that refuses",
            vec![Reply::stream().send(choice(&format!("{{\"refusal\": \"{TEXT}\"}}"), "null")).send(end())],
        ),
        fine(wire, "thoughts before the text", vec![slow.send(text()).send(end())]),
        Script { text: "Hello, ".to_owned(), ..limited },
    ]
}

fn of_anthropic() -> Vec<Script> {
    let wire = Wire::Anthropic;
    let thought = b"event: content_block_delta\ndata: {\"type\": \"content_block_delta\", \"index\": 0, \"delta\": {\"type\": \"thinking_delta\", \"thinking\": \"Hm.\"}}\n\n".to_vec();
    let slow = (0..4)
        .fold(Reply::stream().send(wire.start(10, 0)), |reply, _| reply.send(thought.clone()).then(Step::Wait(ms(80))));
    let ping = b"event: ping\ndata: {\"type\": \"ping\"}\n\n".to_vec();
    let pings = eight_times(&ping).into_iter().fold(begun(wire), Reply::then);
    let orphan = b"event: content_block_delta\ndata: {\"type\": \"content_block_delta\", \"index\": 7, \"delta\": {\"type\": \"input_json_delta\", \"partial_json\": \"{\"}}\n\n".to_vec();
    let broken = |name, reply, words| {
        let script = failed(wire, name, vec![reply], ("Unavailable", words), 1, begun_cost(wire));
        Script { text: "Hello, ".to_owned(), ..script }
    };
    vec![
        fine(wire, "thoughts before the text", vec![slow.send(wire.delta(TEXT)).send(wire.end(End::Stop, 10, 5))]),
        broken("pings in the middle", pings, "no next token within 150 ms"),
        broken("a piece of a tool's call that nobody began", begun(wire).send(orphan), "no beginning"),
    ]
}
