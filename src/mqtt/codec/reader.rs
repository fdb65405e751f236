//! The primitive values of MQTT's packets (1.5), taken from the front of a packet's bytes.
//!
//! Must not know which packet they belong to.

use bytes::{Buf as _, Bytes};

use super::packet::Fault;

/// What reading comes to.
pub(super) type Read<T> = Result<T, Fault>;

/// Takes values from the front of a packet.
#[derive(Debug)]
pub(super) struct Reader(pub(super) Bytes);

impl Reader {
    pub(super) fn byte(&mut self) -> Read<u8> {
        self.0.try_get_u8().map_err(|_| Fault::malformed("a packet that ends too early"))
    }

    pub(super) fn two(&mut self) -> Read<u16> {
        self.0.try_get_u16().map_err(|_| Fault::malformed("a packet that ends too early"))
    }

    pub(super) fn four(&mut self) -> Read<u32> {
        self.0.try_get_u32().map_err(|_| Fault::malformed("a packet that ends too early"))
    }

    /// A packet identifier, which is never 0.
    pub(super) fn id(&mut self) -> Read<u16> {
        match self.two()? {
            0 => Err(Fault::protocol("a packet identifier of 0")),
            id => Ok(id),
        }
    }

    /// A number of one to four bytes.
    pub(super) fn number(&mut self) -> Read<u32> {
        let mut number = 0;
        for index in 0..4 {
            let byte = self.byte()?;
            number |= u32::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Fault::malformed("a number of more than four bytes"))
    }

    pub(super) fn binary(&mut self) -> Read<Bytes> {
        let length = usize::from(self.two()?);
        if length > self.0.len() {
            return Err(Fault::malformed("a field that is longer than its packet"));
        }
        Ok(self.0.split_to(length))
    }

    /// UTF-8 without NUL.
    pub(super) fn text(&mut self) -> Read<String> {
        let bytes = self.binary()?;
        let text = std::str::from_utf8(&bytes).map_err(|_| Fault::malformed("a text that is not UTF-8"))?;
        if text.contains('\0') {
            return Err(Fault::malformed("a text with NUL"));
        }
        Ok(text.to_owned())
    }

    /// The bytes of a packet's properties.
    pub(super) fn block(&mut self) -> Read<Bytes> {
        let length = self.number()? as usize;
        if length > self.0.len() {
            return Err(Fault::malformed("properties that are longer than their packet"));
        }
        Ok(self.0.split_to(length))
    }

    pub(super) fn end(&self) -> Read<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Fault::malformed("bytes after a packet's end")) }
    }
}
