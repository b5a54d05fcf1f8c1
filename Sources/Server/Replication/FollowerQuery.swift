import Engine
import WAL

/// What a follower says of itself and of where it is, in a query.
struct FollowerQuery: Sendable {
  /// Of the position that it speaks of, or the next one: as the route has it.
  let sequence: UInt64?
  /// The header crc of the frame that the position is behind.
  let crc: UInt32?
  let epoch: Epoch?
  let origin: UInt64?
  /// Its ID.
  let replica: String?

  struct Malformed: Error {
    let message: String
  }

  /// - Parameters:
  ///   - name: what the sequence number is called.
  ///   - least: the lowest that it can be.
  init(
    _ query: Parameters, sequence name: String, least: UInt64, limits: Limits
  ) throws(Malformed) {
    sequence = try query.first(name).map { (text) throws(Malformed) in
      guard let number = text.withUnsafeBytes({ DecimalText.parse($0) }),
        (least..<Format.sequenceLimit).contains(number)
      else { throw Malformed(message: "\(name) must be a sequence number: \(least) or more") }
      return number
    }
    crc = try Self.number(query, "crc", as: UInt32.self)
    origin = try Self.number(query, "origin", as: UInt64.self)
    epoch = try query.text("epoch").map { (text) throws(Malformed) in
      guard let epoch = Epoch(text[...]) else {
        throw Malformed(message: "epoch must be a number, a dash and a node's 16 hex digits")
      }
      return epoch
    }
    replica = try query.first("replica").map { (name) throws(Malformed) in
      guard (1...limits.replicaNameBytesMax).contains(name.count),
        let text = String(validating: name, as: UTF8.self)
      else {
        throw Malformed(
          message: "replica must be a name of 1 to \(limits.replicaNameBytesMax) bytes")
      }
      return text
    }
  }

  /// All digits of a number, in lower case, as everything here prints it.
  private static func number<T: FixedWidthInteger>(
    _ query: Parameters, _ name: String, as type: T.Type
  ) throws(Malformed) -> T? {
    guard let text = query.text(name) else { return nil }
    guard let number = T(text, radix: 16), hexadecimal(number) == text else {
      throw Malformed(message: "\(name) must be \(T.bitWidth / 4) hex digits")
    }
    return number
  }
}
