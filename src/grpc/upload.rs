//! Steps of an upload to whole documents.
//!
//! A document that is refused on the way (its header, its length, no room for it) is read to its commit and forgotten; the
//! stream goes on. A step that makes no sense where it stands ends the stream.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::Stream;
use futures::stream;
use ibid_engine::Invalid;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, Streaming};

use crate::proto::ingest_request::Step;
use crate::proto::{DocumentHeader, IngestRequest};
use crate::status::{OrStatus, ToStatus, out_of_step, overloaded};
use crate::wire;
use crate::wire::document::Address;

/// What is held while documents are on their way into the engine: all uploads of the server share it.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    bytes: Arc<Semaphore>,
    document_bytes_max: usize,
}

impl Room {
    /// Room for `bytes_max` bytes of documents, none with a content longer than `document_bytes_max`.
    pub(crate) fn new(bytes_max: usize, document_bytes_max: usize) -> Room {
        Room { bytes: Arc::new(Semaphore::new(bytes_max)), document_bytes_max }
    }

    /// Room for `bytes` more.
    ///
    /// # Errors
    /// There is none now. Nobody waits for it: two uploads that hold some could wait for each other.
    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Status> {
        let bytes = u32::try_from(bytes).expect("a message has at most 17 MiB");
        let permit = Arc::clone(&self.bytes).try_acquire_many_owned(bytes);
        permit.map_err(|_| overloaded("too many bytes of documents are on their way"))
    }
}

/// A document that was sent whole.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) address: Address,
    pub(crate) header: DocumentHeader,
    pub(crate) content: Bytes,
    /// Given back when the document is in the engine.
    pub(crate) room: OwnedSemaphorePermit,
}

/// The document between its header and its commit.
enum Open {
    Taken { address: Address, header: Box<DocumentHeader>, content: BytesMut, room: OwnedSemaphorePermit },
    Refused(Status),
}

/// Puts steps together.
pub(crate) struct Assembly {
    room: Room,
    open: Option<Open>,
}

impl Assembly {
    pub(crate) fn new(room: Room) -> Assembly {
        Assembly { room, open: None }
    }

    /// Takes one step. A commit gives the document, or why it was refused.
    ///
    /// # Errors
    /// The step makes no sense here: the stream ends.
    fn take(&mut self, step: Option<Step>) -> Result<Option<Result<Upload, Status>>, Status> {
        match (self.open.take(), step) {
            (_, None) => Err(out_of_step("is not set")),
            (None, Some(Step::Header(header))) => {
                self.open = Some(Open::start(header, &self.room));
                Ok(None)
            }
            (Some(open), Some(Step::Part(part))) => {
                self.open = Some(open.grow(&part, &self.room));
                Ok(None)
            }
            (Some(open), Some(Step::Commit(_))) => Ok(Some(open.commit())),
            (Some(_), Some(Step::Header(_))) => Err(out_of_step("is a header, expected the commit of the one before")),
            (None, Some(Step::Part(_))) => Err(out_of_step("is a part, expected a header before it")),
            (None, Some(Step::Commit(_))) => Err(out_of_step("is a commit, expected a header before it")),
        }
    }

    /// The client sends no more.
    fn end(&self) -> Option<Status> {
        self.open.as_ref().map(|_| out_of_step("is missing: the stream ended before a commit"))
    }
}

impl Open {
    fn start(header: DocumentHeader, bounds: &Room) -> Open {
        let address = wire::document::header_address(&header).or_status();
        match address.and_then(|address| Ok((address, bounds.take(header.encoded_len())?))) {
            Ok((address, room)) => Open::Taken { address, header: Box::new(header), content: BytesMut::new(), room },
            Err(refused) => Open::Refused(refused),
        }
    }

    fn grow(self, part: &[u8], bounds: &Room) -> Open {
        let Open::Taken { address, header, mut content, mut room } = self else { return self };
        let bytes = content.len() + part.len();
        if bytes > bounds.document_bytes_max {
            let problem = format!("has {bytes} bytes or more, expected at most {}", bounds.document_bytes_max);
            return Open::Refused(Invalid::new("content", problem).to_status());
        }
        match bounds.take(part.len()) {
            Ok(more) => room.merge(more),
            Err(refused) => return Open::Refused(refused),
        }
        content.extend_from_slice(part);
        Open::Taken { address, header, content, room }
    }

    fn commit(self) -> Result<Upload, Status> {
        match self {
            Open::Taken { address, header, content, room } => {
                Ok(Upload { address, header: *header, content: content.freeze(), room })
            }
            Open::Refused(status) => Err(status),
        }
    }
}

/// The documents of a stream in the order of their commits; an outer error is the last item.
pub(crate) fn uploads(
    steps: Streaming<IngestRequest>,
    room: Room,
) -> impl Stream<Item = Result<Result<Upload, Status>, Status>> {
    stream::unfold(Some((steps, Assembly::new(room))), |state| async move {
        let (mut steps, mut assembly) = state?;
        loop {
            let taken = match steps.message().await {
                Ok(Some(request)) => assembly.take(request.step),
                Ok(None) => return assembly.end().map(|status| (Err(status), None)),
                Err(status) => Err(status),
            };
            match taken {
                Ok(None) => {}
                Ok(Some(upload)) => return Some((Ok(upload), Some((steps, assembly)))),
                Err(status) => return Some((Err(status), None)),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::IngestCommit;
    use tonic::Code;
    use tonic_types::StatusExt;

    fn header(document_id: &str) -> Option<Step> {
        let header =
            DocumentHeader { collection: "c".to_owned(), document_id: document_id.to_owned(), ..Default::default() };
        Some(Step::Header(header))
    }

    fn part(bytes: usize) -> Option<Step> {
        Some(Step::Part(vec![b'a'; bytes].into()))
    }

    fn commit() -> Option<Step> {
        Some(Step::Commit(IngestCommit {}))
    }

    /// All but the last step are taken without an outcome.
    fn run(assembly: &mut Assembly, steps: Vec<Option<Step>>) -> Result<Option<Result<Upload, Status>>, Status> {
        let mut last = Ok(None);
        for step in steps {
            assert!(matches!(last, Ok(None)));
            last = assembly.take(step);
        }
        last
    }

    fn refusal(assembly: &mut Assembly, steps: Vec<Option<Step>>) -> Status {
        run(assembly, steps).unwrap().unwrap().unwrap_err()
    }

    #[test]
    fn parts_become_a_document() {
        let mut assembly = Assembly::new(Room::new(10_000, 5_000));
        let upload = run(&mut assembly, vec![header("a"), part(3_000), part(1), commit()]).unwrap().unwrap().unwrap();
        assert_eq!((upload.content.len(), upload.header.document_id.as_str()), (3_001, "a"));
        let empty = run(&mut assembly, vec![header("b"), commit()]).unwrap().unwrap().unwrap();
        assert!(empty.content.is_empty());
    }

    #[test]
    fn a_refused_document_does_not_end_the_stream() {
        let mut assembly = Assembly::new(Room::new(10_000, 5_000));
        let long = refusal(&mut assembly, vec![header("a"), part(5_001), part(1), commit()]);
        assert_eq!(long.get_details_bad_request().unwrap().field_violations[0].field, "content");
        let unnamed = refusal(&mut assembly, vec![header(""), part(1), commit()]);
        assert_eq!(unnamed.get_details_bad_request().unwrap().field_violations[0].field, "header.document_id");
        assert!(run(&mut assembly, vec![header("b"), part(5_000), commit()]).unwrap().unwrap().is_ok());
    }

    #[test]
    fn room_is_shared_and_given_back() {
        let room = Room::new(10_000, 8_000);
        let (mut one, mut other) = (Assembly::new(room.clone()), Assembly::new(room));
        let held = run(&mut one, vec![header("a"), part(8_000), commit()]).unwrap().unwrap().unwrap();
        let refused = refusal(&mut other, vec![header("b"), part(2_000), commit()]);
        assert_eq!(refused.code(), Code::ResourceExhausted);
        drop(held);
        assert!(run(&mut other, vec![header("b"), part(2_000), commit()]).unwrap().unwrap().is_ok());
    }

    #[test]
    fn a_step_that_makes_no_sense_ends_the_stream() {
        let out = |steps| run(&mut Assembly::new(Room::new(1_024, 1_024)), steps).unwrap_err().code();
        for steps in [vec![part(1)], vec![commit()], vec![None], vec![header("a"), header("b")]] {
            assert_eq!(out(steps), Code::InvalidArgument);
        }
        let mut open = Assembly::new(Room::new(1_024, 1_024));
        run(&mut open, vec![header("a")]).unwrap();
        assert!(open.end().is_some());
    }
}
