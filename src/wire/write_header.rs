//! Writes the header of a message.

use crate::error::{Error, Step};
use crate::limits::MAX_NAME;
use crate::wire::header::{
    ANSWER, ASKS, CALL, CALL_BY, CANCEL, CallId, DESCRIBED, ENTRY_SHIFT, EVENT, FAILED, Failure,
    Header, INTRODUCE, MISTYPED, NAME_SHIFT, NOT_FOUND, OF_CALL, OVERLOADED, RECEIPT, REFUSE,
    Refused, Subject, WELCOME, WITHDRAW, kinds_bytes,
};
use crate::wire::message::partial_word;
use crate::wire::writer::Writer;

impl Writer<'_> {
    /// Writes a header.
    // Each caller knows the kind of message, so that only a few stores are left of this function.
    #[inline(always)]
    pub(crate) fn put_header(&mut self, header: Header<'_>) -> Step<()> {
        let plain = |kind, id: CallId| (kind, id);
        let (kind, id) = match header {
            Header::Event(subject) => return self.put_subject(EVENT, 0, None, None, subject),
            Header::Gauge(gauge, subject) => {
                return self.put_subject(EVENT, gauge, None, None, subject);
            }
            Header::Call(id, at, subject) => {
                let kind = if at.is_some() { CALL_BY } else { CALL };
                return self.put_subject(kind, id.entry, Some(id.serial), at, subject);
            }
            Header::Introduce { number, of_call, name, kinds } => {
                self.put_first(INTRODUCE | if of_call { OF_CALL } else { 0 }, name.len(), number)?;
                self.put_padded(name);
                self.extend(kinds);
                return Ok(());
            }
            Header::DescribedAnswer(id, kinds) => {
                self.put_plain(ANSWER | DESCRIBED, id);
                self.make_room(kinds_bytes(kinds.len()));
                self.put(kinds.len() as u64);
                self.put_padded(kinds);
                return Ok(());
            }
            Header::Receipt(gauge) => plain(RECEIPT, CallId { entry: gauge, serial: 0 }),
            Header::Cancel(id) => plain(CANCEL, id),
            Header::Withdraw(id) => plain(WITHDRAW, id),
            Header::Answer(id) => plain(ANSWER, id),
            Header::Failure(id, Failure::NotFound) => plain(NOT_FOUND, id),
            Header::Failure(id, Failure::Overloaded) => plain(OVERLOADED, id),
            Header::Failure(id, Failure::Remote(_)) => plain(FAILED, id),
            Header::Failure(id, Failure::Mistyped(_)) => plain(MISTYPED, id),
            Header::Refuse(Refused::Number(number), turn, place) => {
                plain(REFUSE | turn.bits(), CallId { entry: number, serial: place.into() })
            }
            Header::Refuse(Refused::Unnumbered(hash), turn, place) => {
                plain(REFUSE | DESCRIBED | turn.bits(), CallId { entry: place, serial: hash })
            }
            Header::Welcome(Refused::Number(number), turn) => {
                plain(WELCOME | turn.bits(), CallId { entry: number, serial: 0 })
            }
            Header::Welcome(Refused::Unnumbered(hash), turn) => {
                plain(WELCOME | DESCRIBED | turn.bits(), CallId { entry: 0, serial: hash })
            }
        };
        self.put_plain(kind, id);
        Ok(())
    }

    #[inline(always)] // as `put_header`
    fn put_plain(&mut self, kind: u64, id: CallId) {
        self.put(kind | u64::from(id.entry) << ENTRY_SHIFT);
        self.put(id.serial);
    }

    #[inline(always)] // as `put_header`
    fn put_first(&mut self, kind: u64, name: usize, entry: u32) -> Step<()> {
        if name > MAX_NAME {
            return Err(Error::TooLarge { size: name, max: MAX_NAME }.into());
        }
        self.put(kind | (name as u64) << NAME_SHIFT | u64::from(entry) << ENTRY_SHIFT);
        Ok(())
    }

    #[inline(always)] // as `put_header`
    fn put_subject(
        &mut self,
        kind: u64,
        entry: u32,
        serial: Option<u64>,
        at: Option<u64>,
        subject: Subject<'_>,
    ) -> Step<()> {
        match subject {
            Subject::Known(number) => {
                self.put(kind | u64::from(number.to_raw()) | u64::from(entry) << ENTRY_SHIFT)
            }
            _ => return self.put_name(kind, entry, serial, at, subject),
        }
        if let Some(serial) = serial {
            self.put(serial);
        }
        if let Some(at) = at {
            self.put(at);
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn put_name(
        &mut self,
        kind: u64,
        entry: u32,
        serial: Option<u64>,
        at: Option<u64>,
        subject: Subject<'_>,
    ) -> Step<()> {
        let (name, described) = match subject {
            Subject::Named(name) => (name, None),
            Subject::Described { name, kinds, asks } => {
                (name, Some((kinds, if asks { ASKS } else { 0 })))
            }
            Subject::Known(_) => (&[][..], None),
        };
        self.put_first(
            kind | described.map_or(0, |(_, asks)| DESCRIBED | asks),
            name.len(),
            entry,
        )?;
        serial.into_iter().for_each(|serial| self.put(serial));
        at.into_iter().for_each(|at| self.put(at));
        if let Some((kinds, _)) = described {
            self.make_room(kinds_bytes(kinds.len()));
            self.put(kinds.len() as u64);
        }
        self.put_padded(name);
        described.into_iter().for_each(|(kinds, _)| self.put_padded(kinds));
        Ok(())
    }

    /// Adds bytes. Zeros fill up the last word.
    #[inline]
    fn put_padded(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.put(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            self.put(partial_word(rest));
        }
    }
}
