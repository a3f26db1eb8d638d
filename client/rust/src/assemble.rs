//! From the responses of a stream to its events, with the contract checked on the way.

use std::collections::{BTreeSet, HashMap, HashSet};

use bytes::{Bytes, BytesMut};

use crate::events::{Event, Image};
use crate::pb::generate_image_response::Event as Message;
use crate::{pb, wire};

/// Why a response gives no event.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The chunks of an image came whose `image` event lies before what is watched.
    HeaderMissing,
    /// The stream broke the API's contract.
    Contract(String),
}

/// An image whose chunks are on their way.
struct PartialImage {
    header: pb::Image,
    data: BytesMut,
}

/// What the reader of a generation has been shown, by all of its runs.
#[derive(Default)]
struct Shown {
    text_encoded: bool,
    /// Of each image, the last denoise step.
    steps: HashMap<i32, i32>,
    images: HashSet<i32>,
}

impl Shown {
    /// Whether a run that begins anew tells nothing new by `event`.
    fn has(&self, event: &Event) -> bool {
        match event {
            // Who has seen steps is not told of a queue, which comes before them.
            Event::Queued(_) => !self.steps.is_empty(),
            Event::TextEncoded(_) => self.text_encoded,
            Event::DenoiseProgress(progress) => {
                let last = self.steps.get(&progress.image_index);
                last.is_some_and(|last| progress.step <= *last)
            }
            Event::Image(image) => self.images.contains(&image.image_index),
            Event::Summary(_) => false,
        }
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::TextEncoded(_) => self.text_encoded = true,
            Event::DenoiseProgress(progress) => {
                self.steps.insert(progress.image_index, progress.step);
            }
            Event::Image(image) => {
                self.images.insert(image.image_index);
            }
            Event::Queued(_) | Event::Summary(_) => {}
        }
    }
}

/// Turns the responses of one generation into events and joins the chunks of images.
///
/// The responses may come by several calls: those of `WatchGeneration` go on where the last one
/// ended, and `start_over` begins again at event 0 and shows nothing twice.
pub(crate) struct Assembler {
    request_id: String,
    /// How many images were asked for. `None`: not known.
    image_count: Option<i32>,
    after_event_index: i64,
    /// `None`: a generation may have fewer events by now than its watcher says to know.
    next_index: Option<i64>,
    shown: Shown,
    repeats: bool,
    missing_images: BTreeSet<i32>,
    partial: Option<PartialImage>,
    done: bool,
}

impl Assembler {
    /// Expects the events of `request_id`, those after `after_event_index` if given.
    pub(crate) fn new(
        request_id: String,
        image_count: Option<i32>,
        after_event_index: Option<i64>,
    ) -> Self {
        Self {
            request_id,
            image_count,
            after_event_index: after_event_index.unwrap_or(-1),
            next_index: after_event_index.is_none().then_some(0),
            shown: Shown::default(),
            repeats: false,
            missing_images: (0..image_count.unwrap_or(0)).collect(),
            partial: None,
            done: false,
        }
    }

    /// Returns the index of the last response that came. `None`: none did.
    pub(crate) fn last_index(&self) -> Option<i64> {
        self.next_index
            .filter(|next| *next > 0)
            .map(|next| next - 1)
    }

    /// Whether the summary came, which is last.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Expects event 0 next: all events come again, or the generation runs again.
    pub(crate) fn start_over(&mut self) {
        self.next_index = Some(0);
        self.repeats = true;
        self.missing_images = (0..self.image_count.unwrap_or(0)).collect();
        self.partial = None;
    }

    /// Takes the next response; returns its event, or `None` where there is none to show.
    pub(crate) fn add(
        &mut self,
        response: pb::GenerateImageResponse,
    ) -> Result<Option<Event>, Broken> {
        self.check_order(&response)?;
        let index = response.event_index;
        let event = match response.event {
            Some(Message::Queued(message)) => Some(Event::Queued(wire::queued(index, message))),
            Some(Message::TextEncoded(message)) => {
                Some(Event::TextEncoded(wire::text_encoded(index, message)))
            }
            Some(Message::DenoiseProgress(message)) => Some(self.progress(index, message)?),
            Some(Message::Image(header)) => self.image(index, header)?.map(Event::Image),
            Some(Message::ImageChunk(chunk)) => self.chunk(index, &chunk)?.map(Event::Image),
            Some(Message::Summary(message)) => Some(self.summary(index, message)?),
            // A kind of event that a later version of the API added.
            None => None,
        };
        let new = event.filter(|event| {
            event.index() > self.after_event_index && !(self.repeats && self.shown.has(event))
        });
        if let Some(event) = &new {
            self.shown.note(event);
        }
        Ok(new)
    }

    /// Takes the end of the stream with status OK.
    pub(crate) fn finish(&self) -> Result<(), Broken> {
        if self.done {
            return Ok(());
        }
        contract(format!(
            "the stream ended after {} events, with no summary",
            self.next_index.unwrap_or(0)
        ))
    }

    fn check_order(&mut self, response: &pb::GenerateImageResponse) -> Result<(), Broken> {
        let came = response.event_index;
        if self.done {
            return contract("an event came after the summary");
        }
        if let Some(due) = self.next_index.filter(|due| *due != came) {
            return contract(format!("event {due} was due, event {came} came"));
        }
        if response.request_id != self.request_id {
            return contract(format!(
                "an event of {:?} came in the stream of {:?}",
                response.request_id, self.request_id
            ));
        }
        self.next_index = Some(came.saturating_add(1));
        Ok(())
    }

    fn progress(&self, index: i64, message: pb::DenoiseProgress) -> Result<Event, Broken> {
        let image_index = message.image_index;
        if image_index < 0 || self.image_count.is_some_and(|count| image_index >= count) {
            return contract(format!(
                "a step of image {image_index} came, which was not asked for"
            ));
        }
        Ok(Event::DenoiseProgress(wire::denoise_progress(
            index, message,
        )))
    }

    fn image(&mut self, index: i64, mut header: pb::Image) -> Result<Option<Image>, Broken> {
        let image_index = header.image_index;
        if let Some(partial) = &self.partial {
            return contract(format!(
                "image {image_index} came between the chunks of image {}",
                partial.header.image_index
            ));
        }
        if self.image_count.is_some() && !self.missing_images.contains(&image_index) {
            return contract(format!(
                "image {image_index} was not asked for, or came twice"
            ));
        }
        if header.size_bytes <= 0 {
            return contract(format!(
                "image {image_index} has {} bytes",
                header.size_bytes
            ));
        }
        let data = std::mem::take(&mut header.data);
        if data.is_empty() {
            self.partial = Some(PartialImage {
                header,
                data: BytesMut::new(),
            });
            return Ok(None);
        }
        self.whole(index, &header, data).map(Some)
    }

    fn chunk(&mut self, index: i64, chunk: &pb::ImageChunk) -> Result<Option<Image>, Broken> {
        let image_index = chunk.image_index;
        let mut partial = match self.partial.take() {
            None if self.after_event_index >= 0 && !self.repeats => {
                return Err(Broken::HeaderMissing);
            }
            Some(partial) if partial.header.image_index == image_index => partial,
            _ => {
                return contract(format!(
                    "a chunk of image {image_index} came without its image"
                ));
            }
        };
        if chunk.offset_bytes != size(&partial.data) {
            return contract(format!(
                "the chunk of image {image_index} at {} bytes was due, the one at {} came",
                partial.data.len(),
                chunk.offset_bytes
            ));
        }
        partial.data.extend_from_slice(&chunk.data);
        if size(&partial.data) > partial.header.size_bytes {
            // Checked at every chunk: a size that was promised bounds the memory.
            return contract(format!(
                "image {image_index} goes past its {} bytes",
                partial.header.size_bytes
            ));
        }
        if chunk.last {
            let PartialImage { header, data } = partial;
            return self.whole(index, &header, data.freeze()).map(Some);
        }
        self.partial = Some(partial);
        Ok(None)
    }

    fn whole(&mut self, index: i64, header: &pb::Image, data: Bytes) -> Result<Image, Broken> {
        if size(&data) != header.size_bytes {
            return contract(format!(
                "image {} has {} of its {} bytes",
                header.image_index,
                data.len(),
                header.size_bytes
            ));
        }
        self.missing_images.remove(&header.image_index);
        Ok(wire::image(index, header, data))
    }

    fn summary(&mut self, index: i64, message: pb::Summary) -> Result<Event, Broken> {
        if !self.missing_images.is_empty() {
            let missing: Vec<_> = self.missing_images.iter().map(i32::to_string).collect();
            return contract(format!(
                "the summary came without image {}",
                missing.join(", ")
            ));
        }
        self.done = true;
        Ok(Event::Summary(wire::summary(index, message)))
    }
}

fn size(data: &[u8]) -> i64 {
    i64::try_from(data.len()).unwrap_or(i64::MAX)
}

fn contract<T>(message: impl Into<String>) -> Result<T, Broken> {
    Err(Broken::Contract(message.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(event_index: i64, event: Message) -> pb::GenerateImageResponse {
        pb::GenerateImageResponse {
            request_id: "lake".into(),
            event_index,
            event: Some(event),
        }
    }

    fn progress(step: i32) -> Message {
        Message::DenoiseProgress(pb::DenoiseProgress {
            step,
            total_steps: 2,
            ..Default::default()
        })
    }

    fn header(size_bytes: i64) -> Message {
        Message::Image(pb::Image {
            size_bytes,
            ..Default::default()
        })
    }

    fn chunk(offset_bytes: i64, data: &'static [u8], last: bool) -> Message {
        Message::ImageChunk(pb::ImageChunk {
            offset_bytes,
            data: Bytes::from_static(data),
            last,
            ..Default::default()
        })
    }

    fn summary() -> Message {
        Message::Summary(pb::Summary::default())
    }

    fn words(broken: Broken) -> String {
        match broken {
            Broken::Contract(words) => words,
            Broken::HeaderMissing => "header missing".into(),
        }
    }

    fn one_image() -> Assembler {
        Assembler::new("lake".into(), Some(1), None)
    }

    #[test]
    fn chunks_become_one_image() {
        let mut assembler = one_image();
        assert!(assembler.add(response(0, header(5))).unwrap().is_none());
        assert!(
            assembler
                .add(response(1, chunk(0, b"pix", false)))
                .unwrap()
                .is_none()
        );
        let event = assembler.add(response(2, chunk(3, b"el", true))).unwrap();
        let Some(Event::Image(image)) = event else {
            panic!("{event:?}")
        };
        assert_eq!((image.event_index, &image.data[..]), (2, &b"pixel"[..]));
        assembler.add(response(3, summary())).unwrap();
        assembler.finish().unwrap();
    }

    #[test]
    fn what_breaks_the_contract_is_told() {
        let wrongs = [
            (
                vec![response(1, progress(1))],
                "event 0 was due, event 1 came",
            ),
            (
                vec![response(0, summary())],
                "the summary came without image 0",
            ),
            (
                vec![response(0, header(5)), response(1, chunk(1, b"pix", false))],
                "the chunk of image 0 at 0 bytes was due, the one at 1 came",
            ),
            (
                vec![response(0, header(2)), response(1, chunk(0, b"pix", false))],
                "image 0 goes past its 2 bytes",
            ),
            (
                vec![response(0, header(5)), response(1, chunk(0, b"pix", true))],
                "image 0 has 3 of its 5 bytes",
            ),
        ];
        for (responses, expected) in wrongs {
            let mut assembler = one_image();
            let broken = responses
                .into_iter()
                .find_map(|response| assembler.add(response).err())
                .expect(expected);
            assert_eq!(words(broken), expected);
        }
        assert_eq!(
            words(one_image().finish().unwrap_err()),
            "the stream ended after 0 events, with no summary"
        );
    }

    #[test]
    fn a_run_that_begins_anew_shows_nothing_twice() {
        let mut assembler = one_image();
        assert!(assembler.add(response(0, progress(1))).unwrap().is_some());
        assembler.start_over();
        assert!(assembler.add(response(0, progress(1))).unwrap().is_none());
        assert!(assembler.add(response(1, progress(2))).unwrap().is_some());
    }

    #[test]
    fn chunks_whose_image_lies_before_what_is_watched_are_told_apart() {
        let mut assembler = Assembler::new("lake".into(), None, Some(4));
        let broken = assembler
            .add(response(5, chunk(3, b"el", true)))
            .unwrap_err();
        assert_eq!(words(broken), "header missing");
    }
}
