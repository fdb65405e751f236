//! MQTT packets as bytes: what a client sends, well formed or nearly so, and what it reads.
//!
//! Written from the standards (OASIS MQTT 3.1.1 and 5.0) and on nothing that the hub uses, so that a fault in the hub's
//! codec can't hide behind the same fault here.

/// Which of the two protocols a connection speaks: its level in CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V311 = 4,
    V5 = 5,
}

/// Properties' identifiers, 2.2.2.2 of 5.0.
pub mod property {
    pub const PAYLOAD_FORMAT: u8 = 1;
    pub const MESSAGE_EXPIRY: u8 = 2;
    pub const CONTENT_TYPE: u8 = 3;
    pub const RESPONSE_TOPIC: u8 = 8;
    pub const CORRELATION_DATA: u8 = 9;
    pub const SUBSCRIPTION_ID: u8 = 11;
    pub const SESSION_EXPIRY: u8 = 17;
    pub const ASSIGNED_CLIENT_ID: u8 = 18;
    pub const SERVER_KEEP_ALIVE: u8 = 19;
    pub const WILL_DELAY: u8 = 24;
    pub const RECEIVE_MAXIMUM: u8 = 33;
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 34;
    pub const TOPIC_ALIAS: u8 = 35;
    pub const USER: u8 = 38;
    pub const MAXIMUM_PACKET_SIZE: u8 = 39;
}

/// A property's value in its form on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Byte(u8),
    Two(u16),
    Four(u32),
    Varint(u32),
    Text(String),
    Binary(Vec<u8>),
    Pair(String, String),
}

/// The properties of a packet, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties(pub Vec<(u8, Value)>);

impl Properties {
    pub fn with(mut self, id: u8, value: Value) -> Self {
        self.0.push((id, value));
        self
    }

    pub fn user(self, key: &str, value: &str) -> Self {
        self.with(property::USER, Value::Pair(key.to_owned(), value.to_owned()))
    }

    pub fn get(&self, id: u8) -> Option<&Value> {
        self.0.iter().find(|(known, _)| *known == id).map(|(_, value)| value)
    }

    pub fn number(&self, id: u8) -> Option<u32> {
        match self.get(id)? {
            Value::Byte(number) => Some(u32::from(*number)),
            Value::Two(number) => Some(u32::from(*number)),
            Value::Four(number) | Value::Varint(number) => Some(*number),
            other => panic!("property {id} is {other:?}"),
        }
    }

    pub fn numbers(&self, id: u8) -> Vec<u32> {
        self.0.iter().filter(|(known, _)| *known == id).filter_map(|(_, value)| one(value).number(1)).collect()
    }

    pub fn text(&self, id: u8) -> Option<&str> {
        match self.get(id)? {
            Value::Text(text) => Some(text),
            other => panic!("property {id} is {other:?}"),
        }
    }

    pub fn users(&self) -> Vec<(&str, &str)> {
        let pairs = self.0.iter().filter_map(|(_, value)| match value {
            Value::Pair(key, value) => Some((key.as_str(), value.as_str())),
            _ => None,
        });
        pairs.collect()
    }

    fn write(&self, to: &mut Vec<u8>) {
        let mut body = Vec::new();
        for (id, value) in &self.0 {
            body.push(*id);
            match value {
                Value::Byte(number) => body.push(*number),
                Value::Two(number) => body.extend(number.to_be_bytes()),
                Value::Four(number) => body.extend(number.to_be_bytes()),
                Value::Varint(number) => varint(*number as usize, &mut body),
                Value::Text(text) => binary(text.as_bytes(), &mut body),
                Value::Binary(bytes) => binary(bytes, &mut body),
                Value::Pair(key, value) => {
                    binary(key.as_bytes(), &mut body);
                    binary(value.as_bytes(), &mut body);
                }
            }
        }
        varint(body.len(), to);
        to.extend(body);
    }
}

fn one(value: &Value) -> Properties {
    Properties(vec![(1, value.clone())])
}

/// What a client says of itself; `default()` is a 3.1.1-like clean session without keep-alive.
#[derive(Debug, Clone)]
pub struct Connect {
    pub protocol: String,
    pub level: u8,
    pub client_id: String,
    pub clean: bool,
    /// Seconds; 0 for none.
    pub keep_alive: u16,
    pub will: Option<Publish>,
    pub login: Option<(String, String)>,
    pub properties: Properties,
}

impl Connect {
    pub fn new(version: Version, client_id: &str) -> Self {
        Self {
            protocol: "MQTT".to_owned(),
            level: version as u8,
            client_id: client_id.to_owned(),
            clean: true,
            keep_alive: 0,
            will: None,
            login: None,
            properties: Properties::default(),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        binary(self.protocol.as_bytes(), &mut body);
        body.push(self.level);
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        if self.login.is_some() {
            flags |= 0xC0;
        }
        body.push(flags);
        body.extend(self.keep_alive.to_be_bytes());
        if self.level >= 5 {
            self.properties.write(&mut body);
        }
        binary(self.client_id.as_bytes(), &mut body);
        if let Some(will) = &self.will {
            if self.level >= 5 {
                will.properties.write(&mut body);
            }
            binary(will.topic.as_bytes(), &mut body);
            binary(&will.payload, &mut body);
        }
        if let Some((username, password)) = &self.login {
            binary(username.as_bytes(), &mut body);
            binary(password.as_bytes(), &mut body);
        }
        frame(0x10, &body)
    }
}

/// A message, as it is sent and as it arrives; also a will.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Publish {
    pub dup: bool,
    pub qos: u8,
    pub retain: bool,
    pub topic: String,
    /// 0 at `QoS` 0, where the packet has none.
    pub id: u16,
    pub properties: Properties,
    pub payload: Vec<u8>,
}

impl Publish {
    pub fn new(topic: &str, payload: impl AsRef<[u8]>, qos: u8) -> Self {
        Self { topic: topic.to_owned(), payload: payload.as_ref().to_vec(), qos, ..Self::default() }
    }

    pub fn retained(mut self) -> Self {
        self.retain = true;
        self
    }

    pub fn properties(mut self, properties: Properties) -> Self {
        self.properties = properties;
        self
    }

    pub fn bytes(&self, version: Version) -> Vec<u8> {
        let mut body = Vec::new();
        binary(self.topic.as_bytes(), &mut body);
        if self.qos > 0 {
            body.extend(self.id.to_be_bytes());
        }
        if version == Version::V5 {
            self.properties.write(&mut body);
        }
        body.extend(&self.payload);
        frame(0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain), &body)
    }
}

/// The first byte of the packets that carry little more than an identifier, from a client.
pub mod kind {
    pub const PUBACK: u8 = 0x40;
    pub const PUBREC: u8 = 0x50;
    pub const PUBREL: u8 = 0x62;
    pub const PUBCOMP: u8 = 0x70;
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP: reason code 0 is left out, in both protocols.
pub fn ack(kind: u8, id: u16) -> Vec<u8> {
    frame(kind, &id.to_be_bytes())
}

/// One filter of a SUBSCRIBE. In 3.1.1 only the `QoS` counts.
#[derive(Debug, Clone)]
pub struct Filter {
    pub text: String,
    pub qos: u8,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: u8,
}

impl Filter {
    pub fn new(filter: &str, qos: u8) -> Self {
        let text = filter.to_owned();
        Self { text, qos, no_local: false, retain_as_published: false, retain_handling: 0 }
    }

    fn options(&self) -> u8 {
        self.qos | u8::from(self.no_local) << 2 | u8::from(self.retain_as_published) << 3 | self.retain_handling << 4
    }
}

pub fn subscribe(version: Version, id: u16, filters: &[Filter], properties: &Properties) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == Version::V5 {
        properties.write(&mut body);
    }
    for filter in filters {
        binary(filter.text.as_bytes(), &mut body);
        body.push(filter.options());
    }
    frame(0x82, &body)
}

pub fn unsubscribe(version: Version, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    for filter in filters {
        binary(filter.as_bytes(), &mut body);
    }
    frame(0xA2, &body)
}

pub fn pingreq() -> Vec<u8> {
    frame(0xC0, &[])
}

/// DISCONNECT with reason 0; properties only in 5.0.
pub fn disconnect(version: Version, properties: &Properties) -> Vec<u8> {
    let mut body = Vec::new();
    if version == Version::V5 && !properties.0.is_empty() {
        body.push(0);
        properties.write(&mut body);
    }
    frame(0xE0, &body)
}

/// A packet of this first byte and body, whatever they are.
pub fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    varint(body.len(), &mut bytes);
    bytes.extend(body);
    bytes
}

fn varint(mut number: usize, to: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(number & 0x7F).expect("seven bits");
        number >>= 7;
        to.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return;
        }
    }
}

fn binary(bytes: &[u8], to: &mut Vec<u8>) {
    to.extend(u16::try_from(bytes.len()).expect("at most 65,535 bytes").to_be_bytes());
    to.extend(bytes);
}

/// What a broker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    Connack {
        session_present: bool,
        code: u8,
        properties: Properties,
    },
    Publish(Publish),
    /// By its [`kind`].
    Ack {
        kind: u8,
        id: u16,
        code: u8,
        properties: Properties,
    },
    Suback {
        id: u16,
        codes: Vec<u8>,
        properties: Properties,
    },
    Unsuback {
        id: u16,
        codes: Vec<u8>,
    },
    Pingresp,
    Disconnect {
        code: u8,
        properties: Properties,
    },
}

/// Takes the first whole packet off the buffer's front, if there is one. A broken one is the broker's fault and ends
/// the test.
pub fn take(version: Version, buffer: &mut Vec<u8>) -> Option<Packet> {
    let (mut length, mut header) = (0, 1);
    loop {
        let byte = *buffer.get(header)?;
        length |= usize::from(byte & 0x7F) << (7 * (header - 1));
        header += 1;
        if byte & 0x80 == 0 {
            break;
        }
        assert!(header < 5, "a length of more than four bytes: {buffer:02x?}");
    }
    if buffer.len() < header + length {
        return None;
    }
    let bytes: Vec<u8> = buffer.drain(..header + length).collect();
    let mut reader = Reader { bytes: &bytes[header..], version };
    let packet = reader.packet(bytes[0]);
    assert!(reader.bytes.is_empty(), "{} bytes too many in {bytes:02x?}", reader.bytes.len());
    Some(packet)
}

/// Reads a packet's body from its front; panics where it ends too early.
struct Reader<'a> {
    bytes: &'a [u8],
    version: Version,
}

impl Reader<'_> {
    fn packet(&mut self, first: u8) -> Packet {
        match first & 0xF0 {
            0x20 => {
                let (flags, code) = (self.byte(), self.byte());
                assert!(flags <= 1, "CONNACK flags {flags:#x}");
                Packet::Connack { session_present: flags == 1, code, properties: self.properties() }
            }
            0x30 => {
                let (dup, qos, retain) = (first & 8 != 0, first >> 1 & 3, first & 1 != 0);
                let topic = self.text();
                let id = if qos > 0 { self.two() } else { 0 };
                let properties = self.properties();
                let payload = std::mem::take(&mut self.bytes).to_vec();
                Packet::Publish(Publish { dup, qos, retain, topic, id, properties, payload })
            }
            0x40..=0x70 => {
                let (id, code, properties) = (self.two(), self.optional_byte(), self.optional_properties());
                Packet::Ack { kind: first, id, code, properties }
            }
            0x90 => {
                let (id, properties) = (self.two(), self.properties());
                Packet::Suback { id, codes: std::mem::take(&mut self.bytes).to_vec(), properties }
            }
            0xB0 => {
                let (id, _) = (self.two(), self.properties());
                Packet::Unsuback { id, codes: std::mem::take(&mut self.bytes).to_vec() }
            }
            0xD0 => Packet::Pingresp,
            0xE0 => Packet::Disconnect { code: self.optional_byte(), properties: self.optional_properties() },
            _ => panic!("a packet that no broker sends: {first:#x}"),
        }
    }

    fn optional_byte(&mut self) -> u8 {
        if self.bytes.is_empty() { 0 } else { self.byte() }
    }

    fn optional_properties(&mut self) -> Properties {
        if self.bytes.is_empty() { Properties::default() } else { self.properties() }
    }

    fn properties(&mut self) -> Properties {
        let mut found = Properties::default();
        if self.version == Version::V311 {
            return found;
        }
        let length = self.varint() as usize;
        let (mine, rest) = self.bytes.split_at(length);
        let mut reader = Reader { bytes: mine, version: self.version };
        while !reader.bytes.is_empty() {
            let id = reader.byte();
            let value = match id {
                1 | 23 | 25 | 36 | 37 | 40 | 41 | 42 => Value::Byte(reader.byte()),
                19 | 33 | 34 | 35 => Value::Two(reader.two()),
                2 | 17 | 24 | 39 => Value::Four(u32::from(reader.two()) << 16 | u32::from(reader.two())),
                11 => Value::Varint(reader.varint()),
                3 | 8 | 18 | 21 | 26 | 28 | 31 => Value::Text(reader.text()),
                9 | 22 => Value::Binary(reader.binary()),
                38 => Value::Pair(reader.text(), reader.text()),
                _ => panic!("property {id} does not exist"),
            };
            found.0.push((id, value));
        }
        self.bytes = rest;
        found
    }

    fn byte(&mut self) -> u8 {
        let byte = self.bytes[0];
        self.bytes = &self.bytes[1..];
        byte
    }

    fn two(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn varint(&mut self) -> u32 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            number |= u32::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return number;
            }
        }
    }

    fn binary(&mut self) -> Vec<u8> {
        let length = usize::from(self.two());
        let (mine, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        mine.to_vec()
    }

    fn text(&mut self) -> String {
        String::from_utf8(self.binary()).expect("UTF-8")
    }
}
