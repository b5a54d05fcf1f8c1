import Engine
import NIOCore
import Sharding
import WAL

/// Turns frames of the log into the lines of a change feed, a bounded piece at a time.
///
/// Remembers how far it is, inside a value too, so that it can be given the same frame again and goes
/// on in it: nobody has to keep a frame, or a line, until a slow reader has taken it.
package struct ChangeEncoder: FrameEncoder {
  /// A value that is larger is written in slices of so many bytes; a multiple of 3, for base64.
  private static let sliceBytes = 48 << 10
  /// What one step adds at most: a slice, or a small value and a key, with an escape for every byte.
  package static let stepBytesMax = 6 * (sliceBytes + Format.keyBytesMax) + 256

  /// A value of which not all slices are written.
  private struct OpenValue {
    var isText: Bool
    var written = 0
  }

  private let prefix: [UInt8]
  /// Records with a lower sequence number are passed over.
  package private(set) var next: UInt64
  /// The epoch that the reader knows of.
  private var epoch: Epoch
  private var openValue: OpenValue?
  /// Whether nothing is begun any more: only a line that is open is finished.
  package var beginsNothing = false

  /// - Parameters:
  ///   - from: the first sequence number that is wanted.
  ///   - prefix: what the keys begin with.
  ///   - epoch: an epoch above it is announced, where it begins.
  package init(from: UInt64, prefix: [UInt8], epoch: Epoch) {
    next = from
    self.prefix = prefix
    self.epoch = epoch
  }

  /// Whether what was written ends with a whole line.
  package var isBetween: Bool { openValue == nil }

  /// Writes the changes of a frame behind the last one that was written.
  ///
  /// - Parameters:
  ///   - frame: the whole of it.
  ///   - bytesMax: nothing is begun once so much is in the buffer.
  /// - Returns: false when there is more in the frame, or nothing more is begun.
  package mutating func encode(
    _ header: FrameHeader, _ frame: UnsafeRawBufferPointer, into buffer: inout ByteBuffer,
    bytesMax: Int
  ) -> Bool {
    let records = UnsafeRawBufferPointer(rebasing: frame[Format.frameHeaderBytes...])
    var cursor = RecordCursor(count: header.recordCount)
    var sequence = header.firstSequence
    while let record = Self.next(&cursor, records.bytes) {
      if sequence >= next {
        next = sequence
        guard buffer.readableBytes < bytesMax, openValue != nil || !beginsNothing,
          write(record, records, sequence, header.epoch, into: &buffer, bytesMax)
        else { return false }
        next = sequence + 1
      }
      sequence += 1
    }
    return true
  }

  private static func next(_ cursor: inout RecordCursor, _ records: RawSpan) -> Record? {
    do {
      return try cursor.next(in: records)
    } catch {
      preconditionFailure("the log lets no such record through: \(error)")
    }
  }

  // MARK: - Lines

  /// - Returns: false when there is more of the record.
  private mutating func write(
    _ record: Record, _ records: UnsafeRawBufferPointer, _ sequence: UInt64, _ epoch: Epoch,
    into buffer: inout ByteBuffer, _ bytesMax: Int
  ) -> Bool {
    switch record.type {
    case .put, .delete:
      let key = UnsafeRawBufferPointer(rebasing: records[record.key])
      guard key.starts(with: prefix) else { return true }
      let value = UnsafeRawBufferPointer(rebasing: records[record.value])
      if openValue == nil { writeStart(record, key, value, sequence, into: &buffer) }
      return writeValue(value, into: &buffer, bytesMax)
    case .purge: writeRange("purge", record, records, sequence, into: &buffer)
    case .handoff: writeRange("handoff", record, records, sequence, into: &buffer)
    case .epoch: writeEpoch(epoch, sequence, into: &buffer)
    case .mark: break
    }
    return true
  }

  /// The line up to the value; all of it where there is none or it is small.
  private mutating func writeStart(
    _ record: Record, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer,
    _ sequence: UInt64, into buffer: inout ByteBuffer
  ) {
    writeOpening(record.type == .put ? "put" : "delete", sequence, into: &buffer)
    JSONText.writeMember("key", key, into: &buffer)
    guard record.type == .put else {
      buffer.writeStaticString("}\n")
      return
    }
    if let expiry = record.metadata.expiryMilliseconds {
      buffer.writeStaticString(",\"expires_ms\":")
      DecimalText.write(expiry, into: &buffer)
    }
    buffer.writeStaticString(",")
    if value.count <= Self.sliceBytes {
      JSONText.writeMember("value", value, into: &buffer)
      buffer.writeStaticString("}\n")
    } else {
      let isText = value.isUTF8
      buffer.writeStaticString(isText ? "\"value\":\"" : "\"value_base64\":\"")
      openValue = OpenValue(isText: isText)
    }
  }

  /// - Returns: false when there is more of it.
  private mutating func writeValue(
    _ value: UnsafeRawBufferPointer, into buffer: inout ByteBuffer, _ bytesMax: Int
  ) -> Bool {
    guard var open = openValue else { return true }
    while open.written < value.count, buffer.readableBytes < bytesMax {
      let end = min(open.written + Self.sliceBytes, value.count)
      let slice = UnsafeRawBufferPointer(rebasing: value[open.written..<end])
      if open.isText {
        JSONText.writeStringContent(slice, into: &buffer)
      } else {
        Base64.encode(slice, into: &buffer)
      }
      open.written = end
    }
    guard open.written == value.count else {
      openValue = open
      return false
    }
    buffer.writeStaticString("\"}\n")
    openValue = nil
    return true
  }

  /// The keys that a shard keeps, or that stay with this log: any key may be another.
  private func writeRange(
    _ name: StaticString, _ record: Record, _ records: UnsafeRawBufferPointer,
    _ sequence: UInt64, into buffer: inout ByteBuffer
  ) {
    let content = UnsafeRawBufferPointer(rebasing: records[record.value])
    let range: ShardRange
    do {
      range = try ShardRange(parsing: content.bytes)
    } catch {
      preconditionFailure("the log lets no such record through: \(error)")
    }
    writeOpening(name, sequence, into: &buffer)
    buffer.writeStaticString("\"hash\":\"")
    buffer.writeString(ShardHash(rawValue: range.hash)?.name ?? String(range.hash))
    buffer.writeStaticString("\",\"index\":")
    DecimalText.write(UInt64(range.index), into: &buffer)
    buffer.writeStaticString(",\"count\":")
    DecimalText.write(UInt64(range.count), into: &buffer)
    buffer.writeStaticString("}\n")
  }

  private mutating func writeEpoch(
    _ new: Epoch, _ sequence: UInt64, into buffer: inout ByteBuffer
  ) {
    guard new > epoch else { return }
    epoch = new
    writeOpening("epoch", sequence, into: &buffer)
    buffer.writeString("\"epoch\":\"\(new.text)\"}\n")
  }

  private func writeOpening(
    _ name: StaticString, _ sequence: UInt64, into buffer: inout ByteBuffer
  ) {
    buffer.writeStaticString("{\"seq\":")
    DecimalText.write(sequence, into: &buffer)
    buffer.writeStaticString(",\"op\":\"")
    buffer.writeStaticString(name)
    buffer.writeStaticString("\",")
  }
}
