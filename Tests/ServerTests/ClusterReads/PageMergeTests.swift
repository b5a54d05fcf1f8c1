import Server
import Sharding
import SimulatedDisk
import Testing

@Suite("A page of all shards")
struct PageMergeTests {
  private static func line(_ key: [UInt8]) -> [UInt8] {
    let text =
      String(validating: key, as: UTF8.self).map { #"{"key":"\#($0)","version":1,"size":0}"# }
      ?? #"{"key_base64":"\#(base64(key))","version":1,"size":0}"#
    return Array(text.utf8)
  }

  private static func base64(_ bytes: [UInt8]) -> String {
    let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    var text = ""
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let part = Array(bytes[start..<min(start + 3, bytes.count)])
      let padded = part + [UInt8](repeating: 0, count: 3 - part.count)
      let group = padded.reduce(0) { $0 << 8 | Int($1) }
      for digit in 0..<4 {
        text += digit <= part.count ? String(digits[group >> (18 - 6 * digit) & 63]) : "="
      }
    }
    return text
  }

  private static func encoded(_ key: [UInt8]) -> String {
    key.map { "%" + ($0 < 16 ? "0" : "") + String($0, radix: 16, uppercase: true) }.joined()
  }

  private static func decoded(_ text: String) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      bytes.append(UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)!)
      rest = rest.dropFirst(2)
    }
    return bytes
  }

  private struct Cluster {
    let hash = ShardHash.fnv1
    var shards: [[[UInt8]]]
    /// Lines that were asked for.
    var asked = 0
    /// The most that a shard gives at once.
    let pageMax: Int

    func owner(_ key: [UInt8]) -> Int {
      key.withUnsafeBytes { Int(hash($0) % UInt64(shards.count)) }
    }

    mutating func answer(_ question: PageMerge.Question) -> ([UInt8], String?) {
      let after = PageMergeTests.decoded(question.after)
      let keys = shards[question.shard].filter { after.lexicographicallyPrecedes($0) }
      let page = keys.prefix(min(question.limit, pageMax))
      asked += question.limit
      let next = page.count < keys.count ? PageMergeTests.encoded(page.last!) : nil
      return (Array(page.map { PageMergeTests.line($0) + [10] }.joined()), next)
    }

    mutating func page(after: [UInt8], limit: Int) throws -> PageMerge {
      let cluster = self
      var merge = PageMerge(shards: shards.count, limit: limit) { key, shard in
        cluster.owner(key) == shard
      }
      while !merge.isDone {
        for var question in merge.questions {
          if question.after.isEmpty {
            question = PageMerge.Question(
              shard: question.shard, after: PageMergeTests.encoded(after), limit: question.limit)
          }
          #expect((1...limit).contains(question.limit))
          let (text, next) = answer(question)
          try merge.add(text, next: next, of: question.shard)
        }
        merge.merge()
      }
      return merge
    }
  }

  @Test("has all keys in order, once, page by page", arguments: 0..<120 as Range<UInt64>)
  func all(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    let count = 1 + random.below(7)
    var cluster = Cluster(
      shards: Array(repeating: [], count: count), pageMax: 1 + random.below(40))
    var keys: Set<[UInt8]> = []
    for _ in 0..<random.below(300) {
      let key =
        random.once(in: 3)
        ? random.bytes(1 + random.below(3)) : Array("key-\(random.below(400))".utf8)
      guard !key.contains(where: { $0 < 32 || $0 == 34 || $0 == 92 }) else { continue }
      keys.insert(key)
    }
    for key in keys {
      cluster.shards[cluster.owner(key)].append(key)
      // What a shard holds that is another's.
      if random.once(in: 5) { cluster.shards[random.below(count)].append(key) }
    }
    for shard in cluster.shards.indices {
      cluster.shards[shard] = Set(cluster.shards[shard]).sorted { $0.lexicographicallyPrecedes($1) }
    }
    let expected = keys.sorted { $0.lexicographicallyPrecedes($1) }
    let limit = 1 + random.below(60)
    var found: [UInt8] = []
    var after: [UInt8] = []
    var pages = 0
    while true {
      let page = try cluster.page(after: after, limit: limit)
      let lines = page.body.readableBytesView.split(separator: 10)
      #expect(lines.count <= limit)
      found += Array(page.body.readableBytesView)
      pages += 1
      guard let next = page.next else { break }
      #expect(lines.count == limit)
      after = Self.decoded(next)
    }
    #expect(found == Array(expected.map { Self.line($0) + [10] }.joined()))
    #expect(pages <= expected.count / limit + 1)
  }

  @Test("asks each shard for no more than the page lacks")
  func frugal() throws {
    var cluster = Cluster(shards: Array(repeating: [], count: 4), pageMax: 10_000)
    for number in 0..<4_000 {
      let key = Array("key-\(10_000 + number)".utf8)
      cluster.shards[cluster.owner(key)].append(key)
    }
    let page = try cluster.page(after: [], limit: 1_000)
    #expect(page.body.readableBytesView.count { $0 == 10 } == 1_000)
    #expect(cluster.asked <= 2_000 + 4 * 500, "\(cluster.asked)")
  }

  @Test(
    "is none where an answer is none",
    arguments: [
      ("{}", nil), ("[1]", nil), (#"{"key":1}"#, nil), (#"{"key_base64":"?"}"#, nil), ("", "x"),
      ("{\"key\":\"b\"}\n{\"key\":\"a\"}\n", nil), ("{\"key\":\"a\"}\n{\"key\":\"a\"}\n", nil),
    ] as [(String, String?)])
  func malformed(text: String, next: String?) throws {
    var merge = PageMerge(shards: 1, limit: 10) { _, _ in true }
    #expect(throws: PageMerge.Malformed.self) {
      try merge.add(Array(text.utf8), next: next, of: 0)
    }
  }
}
