//! Writing protobuf messages, field by field.
//!
//! Authority: the protobuf encoding guide; proto3, so a field that holds its default is left out.

/// A message being written.
#[derive(Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// The bytes.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    /// A string field.
    pub fn text(&mut self, field: u32, value: &str) {
        if !value.is_empty() {
            self.element(field, value.as_bytes());
        }
    }

    /// One more element of a repeated string field.
    pub fn repeated(&mut self, field: u32, value: &str) {
        self.element(field, value.as_bytes());
    }

    /// A message field, or one more element of a repeated one.
    pub fn message(&mut self, field: u32, value: &Message) {
        self.element(field, &value.0);
    }

    /// A bool field.
    pub fn flag(&mut self, field: u32, value: bool) {
        if value {
            self.tag(field, 0);
            self.varint(1);
        }
    }

    /// A bool field of a oneof, which is written even when it is false.
    pub fn chosen_flag(&mut self, field: u32, value: bool) {
        self.tag(field, 0);
        self.varint(u64::from(value));
    }

    /// An int64 field.
    pub fn integer(&mut self, field: u32, value: i64) {
        if value != 0 {
            self.tag(field, 0);
            self.varint(value.cast_unsigned());
        }
    }

    /// A double field.
    pub fn double(&mut self, field: u32, value: f64) {
        if value != 0.0 {
            self.tag(field, 1);
            self.0.extend(value.to_le_bytes());
        }
    }

    fn element(&mut self, field: u32, bytes: &[u8]) {
        self.tag(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_guides_examples() {
        let mut message = Message::default();
        message.integer(1, 150);
        message.text(2, "testing");
        message.flag(16, true);
        message.integer(3, 0);
        message.text(4, "");
        message.flag(5, false);
        message.chosen_flag(2, false);
        message.double(6, 1.0);
        assert_eq!(
            message.finish(),
            b"\x08\x96\x01\x12\x07testing\x80\x01\x01\x10\x00\x31\0\0\0\0\0\0\xf0\x3f"
        );
    }

    #[test]
    fn negative_integers_take_ten_bytes() {
        let mut message = Message::default();
        message.integer(1, -1);
        assert_eq!(message.finish(), b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    }
}
