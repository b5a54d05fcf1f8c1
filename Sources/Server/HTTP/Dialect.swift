import NIOCore

/// The text of the classic routes, in one of three wordings.
package struct Dialect: Sendable {
  let name: DialectName
  /// The shard that keys belong to here, and of this node.
  let shard: UInt32
  /// What stands before a value in `classic` and in `compact`.
  private let classicStart: [UInt8]
  private let compactStart: [UInt8]
  private let classicEnd: String

  /// - Parameter leader: the address of the shard's leader.
  package init(name: DialectName, shard: UInt32, leader: String) {
    self.name = name
    self.shard = shard
    classicStart = Array(
      "Shard = \(shard), current shard = \(shard), addr = \"\(leader)\", Value = ".utf8)
    compactStart = Array("shard=\(shard) addr=\(leader) value=".utf8)
    classicEnd = ", shardIdx = \(shard), current shard = \(shard)"
  }

  /// What `/get` says about a key.
  package func writeValue(_ value: UnsafeRawBufferPointer?, into body: inout ByteBuffer) {
    let shown = value ?? UnsafeRawBufferPointer(start: nil, count: 0)
    switch name {
    case .classic:
      body.writeBytes(classicStart)
      GoQuote.write(shown, into: &body)
      body.writeStaticString(", error = <nil>")
    case .compact:
      writeCompact(shown, error: nil, into: &body)
    case .plain:
      if let value {
        body.writeStaticString("Value: ")
        body.writeBytes(value)
      } else {
        body.writeStaticString("Error: key not found")
      }
    }
  }

  /// What `/set` says.
  ///
  /// - Parameter error: why nothing was written; nil when it was.
  package func writeSet(
    _ value: UnsafeRawBufferPointer, error: String?, into body: inout ByteBuffer
  ) {
    switch name {
    case .classic:
      writeClassicOutcome(error: error, into: &body)
    case .compact:
      writeCompact(value, error: error, into: &body)
    case .plain:
      if let error {
        body.writeString("Failed to set key: \(error)")
      } else {
        body.writeStaticString("Key set successfully on shard ")
        DecimalText.write(UInt64(shard), into: &body)
      }
    }
  }

  /// What `/delete` says.
  package func writeDelete(isAbsent: Bool, error: String?, into body: inout ByteBuffer) {
    switch name {
    case .classic:
      writeClassicOutcome(error: error, into: &body)
    case .compact:
      writeCompact(UnsafeRawBufferPointer(start: nil, count: 0), error: error, into: &body)
    case .plain:
      if let error {
        body.writeString("Failed to delete key: \(error)")
      } else if isAbsent {
        body.writeStaticString("Error: key not found")
      } else {
        body.writeStaticString("Key deleted successfully on shard ")
        DecimalText.write(UInt64(shard), into: &body)
      }
    }
  }

  /// What `/purge` says.
  package func writePurge(error: String?, into body: inout ByteBuffer) {
    switch name {
    case .classic: body.writeString("Error = \(error ?? "<nil>")")
    case .compact: body.writeString("err=\(error ?? "<nil>")")
    case .plain:
      body.writeString(
        error.map { "Failed to delete extra keys: \($0)" } ?? "Extra keys deleted successfully")
    }
  }

  private func writeClassicOutcome(error: String?, into body: inout ByteBuffer) {
    body.writeStaticString("Error = ")
    if let error { body.writeString(error) } else { body.writeStaticString("<nil>") }
    body.writeString(classicEnd)
  }

  private func writeCompact(
    _ value: UnsafeRawBufferPointer, error: String?, into body: inout ByteBuffer
  ) {
    body.writeBytes(compactStart)
    GoQuote.write(value, into: &body)
    body.writeStaticString(", error:")
    if let error { body.writeString(error) } else { body.writeStaticString("<nil>") }
  }
}
