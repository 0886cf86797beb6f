//! Answers by a language model in the server's own process: they stream, and a caller who leaves costs no more.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ibid::first_start;
use ibid::proto::answer_response::Event;
use ibid::proto::{AnswerRequest, AnswerResponse, FinishReason, Role, Turn};
use tonic::{Code, Streaming};

use crate::crash::Program;
use crate::harness::{Client, reason};

/// How often the process is looked at, and for how long it must have done nothing to count as still.
const TICK: Duration = Duration::from_millis(50);
const STILL_TICKS: u32 = 10;
const STILL_TIMEOUT: Duration = Duration::from_secs(30);
/// What a caller who has left may cost: 100 ms on each of two cores.
const AFTER_MAX: Duration = Duration::from_millis(200);

/// `IBID_TEST_GGUF`, a GGUF file of a small Llama, if there is one.
fn gguf() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("IBID_TEST_GGUF")?);
    path.is_file().then_some(path)
}

/// Processor time that the process has used, of all its threads.
fn used(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The second field is the program's name, which may hold anything.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |field: usize| fields[field].parse::<u64>().unwrap();
    // 100 ticks a second on every Linux; user and system time.
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// Waits until the process does nothing, and gives the processor time it has used by then.
async fn still(process: u32) -> Duration {
    let wait = async {
        let (mut last, mut ticks) = (used(process), 0);
        while ticks < STILL_TICKS {
            tokio::time::sleep(TICK).await;
            let now = used(process);
            ticks = if now == last { ticks + 1 } else { 0 };
            last = now;
        }
        last
    };
    tokio::time::timeout(STILL_TIMEOUT, wait).await.expect("the process goes on and on")
}

async fn ask(client: &Client, tokens_max: u32, history: Vec<Turn>) -> Streaming<AnswerResponse> {
    let question = "Within how many days are refunds paid?".into();
    let request = AnswerRequest { question, tokens_max, history, ..Default::default() };
    client.answers().answer(request).await.unwrap().into_inner()
}

fn long(text: &str, times: usize) -> Turn {
    Turn { role: Role::User.into(), text: text.repeat(times).into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_streams_and_stops_when_nobody_listens() {
    let Some(gguf) = gguf() else {
        eprintln!("left out: no language model; name a GGUF file of a small Llama in IBID_TEST_GGUF");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    // At this temperature it rambles on for as long as it may.
    let config = format!("[[generator]]\nname = \"local\"\ngguf = {gguf:?}\ntemperature = 1.8\nseed = 1\n");
    fs::write(folder.path().join(ibid::config::FILE), config).unwrap();
    let program = Program::start(folder.path(), folder.path().join("stderr"));
    let process = program.process.id();
    let key = fs::read_to_string(first_start::default_key(folder.path())).unwrap();
    let client = Client::of(program.address, key.trim()).await;
    client.put("refunds.md", "# Refunds\n\nRefunds are paid within 14 days to the card.\n").await.unwrap();

    let mut stream = ask(&client, 24, Vec::new()).await;
    let (mut deltas, mut usage, mut done) = (0, None, None);
    while let Some(reply) = stream.message().await.unwrap() {
        match reply.event.unwrap() {
            Event::Delta(_) => deltas += 1,
            Event::Usage(used) => usage = Some(used),
            Event::Done(end) => done = Some(end),
            Event::Retrieved(_) | Event::Citation(_) => {}
            Event::Error(error) => panic!("{error:?}"),
        }
    }
    let (usage, done) = (usage.unwrap(), done.unwrap());
    assert!(deltas > 4, "{deltas} pieces of text");
    assert_eq!((usage.output_tokens, usage.reported), (24, true));
    assert!(usage.input_tokens > 200, "{usage:?}");
    assert_eq!((done.generator.as_str(), done.extractive), ("local", false));
    assert_eq!(done.finish_reason(), FinishReason::Length);

    // While it writes.
    let mut stream = ask(&client, 4_000, Vec::new()).await;
    while !matches!(stream.message().await.unwrap().unwrap().event, Some(Event::Delta(_))) {}
    let before = used(process);
    drop(stream);
    let after = still(process).await - before;
    assert!(after <= AFTER_MAX, "{after:?} of processor time after the caller left");

    // While it reads a prompt of some thousand tokens.
    let idle = used(process);
    let stream = ask(&client, 10, vec![long("A parcel that is lost is sent again. ", 400)]).await;
    while used(process) < idle + Duration::from_millis(500) {
        tokio::time::sleep(TICK).await;
    }
    let before = used(process);
    drop(stream);
    let after = still(process).await - before;
    assert!(after <= AFTER_MAX, "{after:?} of processor time after the caller left");

    // What does not fit is refused, not cut.
    let mut stream = ask(&client, 10, vec![long("A parcel that is lost is sent again. ", 400); 4]).await;
    let error = loop {
        match stream.message().await.unwrap().unwrap().event {
            Some(Event::Error(error)) => break error,
            event => assert!(matches!(event, Some(Event::Retrieved(_))), "{event:?}"),
        }
    };
    let status = tonic::Status::with_details(
        Code::from(error.code),
        error.message.clone(),
        prost::Message::encode_to_vec(&error).into(),
    );
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "MODEL_REFUSED"));
    assert!(error.message.contains("tokens"), "{}", error.message);
    program.kill();
}
