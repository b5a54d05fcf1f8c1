import Client

/// The requests to one node, ready but for the key's number.
struct RequestText: Sendable {
  /// Digits that the number of a key has at least.
  static let keyPlaces = 12

  private let read: [UInt8]
  private let write: [UInt8]
  private let scan: [UInt8]
  private let limit: [UInt8]
  private let readEnd: [UInt8]
  private let scanEnd: [UInt8]
  private let writeEnd: [UInt8]
  private let keyPrefix: [UInt8]

  /// - Parameters:
  ///   - isCluster: whether a scan is to list all shards.
  ///   - writeQuorum: members that must have a write before it is answered; nil for what the node is
  ///     configured to.
  ///   - readQuorum: members that are asked for a read; nil likewise.
  init(
    to node: NodeAddress, keyPrefix: String, value: [UInt8], isCluster: Bool,
    writeQuorum: Int? = nil, readQuorum: Int? = nil
  ) {
    self.keyPrefix = Array(keyPrefix.utf8)
    let host = " HTTP/1.1\r\nHost: \(node)\r\n"
    read = Array("GET /kv/\(keyPrefix)".utf8)
    readEnd = Array("\(readQuorum.map { "?r=\($0)" } ?? "")\(host)\r\n".utf8)
    scanEnd = Array("\(readQuorum.map { "&r=\($0)" } ?? "")\(host)\r\n".utf8)
    write = Array("PUT /kv/\(keyPrefix)".utf8)
    let query = Self.query(writeQuorum)
    writeEnd = Array("\(query)\(host)Content-Length: \(value.count)\r\n\r\n".utf8) + value
    let scope = isCluster ? "scope=cluster&" : ""
    scan = Array("GET /kv?\(scope)prefix=\(keyPrefix)&after=\(keyPrefix)".utf8)
    limit = Array("&limit=".utf8)
  }

  static func query(_ writeQuorum: Int?) -> String { writeQuorum.map { "?w=\($0)" } ?? "" }

  /// Letters and digits, the same for the same seed: they need no escaping, and do not compress to
  /// nothing.
  static func value(bytes: Int, seed: UInt64) -> [UInt8] {
    let letters = Array("abcdefghijklmnopqrstuvwxyz0123456789".utf8)
    var random = RandomSource(seed: seed)
    return (0..<bytes).map { _ in letters[Int(random.below(36))] }
  }

  @inline(__always)
  func appendRead(_ key: UInt64, to output: inout OutputBuffer) {
    output.append(read)
    output.append(key, places: Self.keyPlaces)
    output.append(readEnd)
  }

  @inline(__always)
  func appendWrite(_ key: UInt64, to output: inout OutputBuffer) {
    output.append(write)
    output.append(key, places: Self.keyPlaces)
    output.append(writeEnd)
  }

  /// Up to `count` keys behind that one.
  func appendScan(after key: UInt64, count: UInt64, to output: inout OutputBuffer) {
    output.append(scan)
    output.append(key, places: Self.keyPlaces)
    output.append(limit)
    output.append(count, places: 1)
    output.append(scanEnd)
  }

  /// Calls `body` with the bytes of a key.
  @inline(__always)
  func withKey<R>(_ number: UInt64, _ body: (UnsafeRawBufferPointer) -> R) -> R {
    // 20 digits are the most that a number has.
    withUnsafeTemporaryAllocation(byteCount: keyPrefix.count + 20, alignment: 1) { room in
      room.copyBytes(from: keyPrefix)
      var places = 1
      var rest = number / 10
      while rest > 0 {
        places += 1
        rest /= 10
      }
      places = max(places, Self.keyPlaces)
      let end = keyPrefix.count + places
      rest = number
      for index in stride(from: end - 1, through: keyPrefix.count, by: -1) {
        room[index] = UInt8(truncatingIfNeeded: 48 + rest % 10)
        rest /= 10
      }
      return body(UnsafeRawBufferPointer(rebasing: room[..<end]))
    }
  }

  static func key(_ number: UInt64, prefix: String) -> String {
    let digits = String(number)
    return prefix + String(repeating: "0", count: max(0, keyPlaces - digits.count)) + digits
  }
}
