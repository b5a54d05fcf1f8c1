import NIOCore

/// One page of many: those of the shards, each in ascending key order, become one of the cluster.
///
/// A line is taken only while every shard that has more than it has told has a line to compare with; a
/// shard whose lines are used up is asked again first.
package struct PageMerge {
  /// What a shard has told.
  private struct Source {
    var lines: ArraySlice<Line> = []
    /// Behind which key it goes on, percent-encoded; nil where it has told all.
    var next: String? = ""

    var isWanted: Bool { lines.isEmpty && next != nil }
  }

  struct Line {
    let key: [UInt8]
    /// JSON, without the end of the line.
    let text: ArraySlice<UInt8>
  }

  /// What a shard is to be asked for.
  package struct Question: Hashable, Sendable {
    package let shard: Int
    /// Percent-encoded; empty for its beginning.
    package let after: String
    package let limit: Int

    package init(shard: Int, after: String, limit: Int) {
      self.shard = shard
      self.after = after
      self.limit = limit
    }
  }

  package struct Malformed: Error, CustomStringConvertible {
    package let description = "the answer is no page"
  }

  private static let linesMin = 16

  private let limit: Int
  private let isOf: (_ key: [UInt8], _ shard: Int) -> Bool
  private var sources: [Source]
  private var lineCount = 0
  private var last: [UInt8] = []
  package private(set) var body = ByteBuffer()

  /// - Parameters:
  ///   - limit: lines of the page, at most.
  ///   - isOf: whether a key is a shard's: others are left out, which a shard may still hold.
  package init(
    shards: Int, limit: Int, isOf: @escaping (_ key: [UInt8], _ shard: Int) -> Bool
  ) {
    self.limit = limit
    self.isOf = isOf
    sources = Array(repeating: Source(), count: shards)
  }

  /// Whether the page is full, or there is nothing left.
  package var isDone: Bool { isFull || sources.allSatisfy { $0.lines.isEmpty && $0.next == nil } }

  private var isFull: Bool {
    lineCount >= limit || body.readableBytes >= PageRequest.bytesMax
  }

  /// Those whose lines are needed before it can go on; none once it is done.
  package var questions: [Question] {
    guard !isDone else { return [] }
    // Of evenly spread keys, twice a shard's part; never more than what the page lacks.
    let part = max(Self.linesMin, 2 * limit / sources.count)
    return sources.indices.filter { sources[$0].isWanted }.map {
      Question(
        shard: $0, after: sources[$0].next ?? "", limit: min(part, limit - lineCount))
    }
  }

  /// Takes a shard's answer.
  ///
  /// - Parameters:
  ///   - text: a line of JSON for each key.
  ///   - next: its `X-KV-Next`.
  package mutating func add(
    _ text: [UInt8], next: String?, of shard: Int
  ) throws(Malformed) {
    var lines: [Line] = []
    for text in text.split(separator: UInt8(ascii: "\n")) {
      guard let key = Self.key(text) else { throw Malformed() }
      if let before = lines.last?.key, !before.lexicographicallyPrecedes(key) { throw Malformed() }
      lines.append(Line(key: key, text: text))
    }
    // Without a line it would be asked for the same again and again.
    guard next == nil || !lines.isEmpty else { throw Malformed() }
    sources[shard].lines = lines.filter { isOf($0.key, shard) }[...]
    sources[shard].next = next
  }

  /// Puts what can be put in order into the page.
  package mutating func merge() {
    while !isFull, !sources.contains(where: \.isWanted) {
      var first: Int?
      for (index, source) in sources.enumerated() {
        guard let line = source.lines.first else { continue }
        if let found = first,
          !line.key.lexicographicallyPrecedes(sources[found].lines.first!.key)
        {
          continue
        }
        first = index
      }
      guard let first else { return }
      let line = sources[first].lines.removeFirst()
      body.writeBytes(line.text)
      body.writeStaticString("\n")
      lineCount += 1
      last = line.key
    }
  }

  /// Behind which key the next page begins, percent-encoded; nil on the last one.
  package var next: String? {
    guard isFull, !sources.allSatisfy({ $0.lines.isEmpty && $0.next == nil }) else { return nil }
    return PercentEncoding.encode(last)
  }

  private static func key(_ line: ArraySlice<UInt8>) -> [UInt8]? {
    let members = try? Array(line).withUnsafeBytes { (raw) throws(FlatJSON.Failure) in
      try FlatJSON.parse(raw)
    }
    for member in members ?? [] {
      guard case .string(let text) = member.value else { continue }
      if member.name.elementsEqual("key".utf8) { return text }
      if member.name.elementsEqual("key_base64".utf8) {
        return text.withUnsafeBytes { Base64.decode($0) }
      }
    }
    return nil
  }
}

extension PercentEncoding {
  /// Bytes as they stand in a query string.
  static func encode(_ bytes: [UInt8]) -> String {
    var buffer = ByteBuffer()
    bytes.withUnsafeBytes { encode($0, into: &buffer) }
    return String(buffer: buffer)
  }
}
