import LanePair
import SimulatedDisk
import Synchronization
import TemporaryFiles
import Testing

@Suite struct PageRouteTests {
  /// Puts keys, many at a time.
  private static func put(_ keys: [String], _ client: ClientConnection) async throws {
    var rest = keys[...]
    while !rest.isEmpty {
      let lines = rest.prefix(5_000).map { #"{"op":"put","key":"\#($0)","value":"v"}"# }
      let answer = try await client.ask("POST", "/batch", body: lines.joined(separator: "\n"))
      #expect(answer.status == 200)
      rest = rest.dropFirst(5_000)
    }
  }

  private static func key(ofLine line: Substring) -> String {
    String(line.dropFirst(#"{"key":""#.count).prefix { $0 != "\"" })
  }

  /// All keys, as a client that follows the header gets them.
  private static func list(
    _ query: String, _ client: ClientConnection, pages: ((Int) -> Void)? = nil
  ) async throws -> [String] {
    var keys: [String] = []
    var after: String? = ""
    while let start = after {
      let answer = try await client.ask("GET", "/kv?\(query)&after=\(start)")
      #expect(answer.status == 200 && answer["content-type"] == "application/x-ndjson")
      let lines = answer.text.split(separator: "\n")
      pages?(lines.count)
      keys += lines.map(key)
      after = answer["x-kv-next"]
    }
    return keys
  }

  @Test(arguments: ConfiguredLane.allCases)
  func keysComeInAscendingOrderWithVersionAndSize(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      let empty = try await client.ask("GET", "/kv")
      #expect(empty.status == 200 && empty.text == "" && empty["x-kv-next"] == nil)
      let b = try await client.ask("PUT", "/kv/b", body: "12345")["x-kv-version"] ?? ""
      let a = try await client.ask("PUT", "/kv/a%22", body: "")["x-kv-version"] ?? ""
      let large = String(repeating: "v", count: 5_000)
      let c = try await client.ask("PUT", "/kv/c", body: large)["x-kv-version"] ?? ""
      let answer = try await client.ask("GET", "/kv?scope=cluster")
      #expect(
        answer.text == """
          {"key":"a\\"","version":\(a),"size":0}
          {"key":"b","version":\(b),"size":5}
          {"key":"c","version":\(c),"size":5000}

          """)
      #expect(answer["x-kv-next"] == nil)
      _ = try await client.ask("DELETE", "/kv/b")
      let head = try await client.ask("HEAD", "/kv?limit=1")
      #expect(head.status == 200 && head["x-kv-next"] == "a%22" && head.body.isEmpty)
      try await #expect(client.ask("GET", "/kv?after=a%22").text.hasPrefix(#"{"key":"c""#))
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func theHeaderLeadsThroughAllPagesAndIsAbsentOnTheLast(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      let keys = (0..<250).map { "p/\(1_000 + $0)" }
      try await Self.put(keys.shuffled() + ["o", "p", "p0", "q"], client)
      for (limit, expected) in [(100, [100, 100, 50]), (125, [125, 125]), (250, [250])] {
        let pages = Mutex<[Int]>([])
        let listed = try await Self.list("prefix=p/&limit=\(limit)", client) { lines in
          pages.withLock { $0.append(lines) }
        }
        #expect(listed == keys && pages.withLock { $0 } == expected)
      }
      try await #expect(Self.list("x", client).count == 254)
      try await #expect(Self.list("prefix=p&limit=9&until=p/1003", client) == ["p"] + keys[..<3])
      try await #expect(Self.list("until=p", client) == ["o"])
      try await #expect(Self.list("prefix=&until=&limit=253", client).count == 254)
      let behind = try await client.ask("GET", "/kv?prefix=p/&after=p/1248&until=q")
      #expect(behind.text.split(separator: "\n").map(Self.key) == ["p/1249"])
      for none in ["after=q", "prefix=x", "prefix=p/&after=p0", "until=o", "prefix=p&until=a"] {
        let answer = try await client.ask("GET", "/kv?" + none)
        #expect(answer.status == 200 && answer.text == "" && answer["x-kv-next"] == nil)
      }
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func keysOfAnyBytesAreListedAndGoneOnFrom(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      let keys = ["%00", "%20+", "%C3%A9", "%FF", "%FF%FF", "%FF%FF%00"]
      for key in keys.reversed() {
        try await #expect(client.ask("PUT", "/kv/" + key, body: "v").status == 201)
      }
      let expected = [
        #""key":"\u0000""#, #""key":" +""#, #""key":"é""#, #""key_base64":"/w==""#,
        #""key_base64":"//8=""#, #""key_base64":"//8A""#,
      ]
      var lines: [String] = []
      var next: [String?] = []
      repeat {
        let after = next.last ?? nil
        let answer = try await client.ask("GET", "/kv?limit=1&after=\(after ?? "")")
        lines.append(answer.text)
        next.append(answer["x-kv-next"])
      } while next.last != .some(nil) && lines.count < 10
      #expect(next == ["%00", "%20%2B", "%C3%A9", "%FF", "%FF%FF", nil])
      #expect(zip(lines, expected).allSatisfy { $0.hasPrefix("{" + $1 + ",") })
      let highest = try await client.ask("GET", "/kv?prefix=%ff%FF&limit=1")
      #expect(highest.text.hasPrefix("{" + expected[4]) && highest["x-kv-next"] == "%FF%FF")
    }
  }

  @Test(
    arguments: ConfiguredLane.allCases,
    [
      ("limit=0", 400), ("limit=10001", 400), ("limit=x", 400), ("limit=", 400),
      ("limit=-1", 400), ("limit=1e3", 400), ("limit=99999999999999999999", 400),
      ("scope=shard", 400), ("after=%f", 400), ("prefix=%", 400), ("w=2", 400),
      ("min_version=x", 400), ("min_version=9.9-00000000000a11ce", 412),
      ("prefix=" + String(repeating: "k", count: 21), 414),
      ("after=" + String(repeating: "k", count: 21), 414),
      ("until=" + String(repeating: "%00", count: 21), 414),
    ])
  func whatMakesNoSenseIsRefused(
    lane: ConfiguredLane, refused: (query: String, status: Int)
  ) async throws {
    try await RunningNode.with(lane, { $0.limits.keyBytesMax = 20 }) { node in
      let answer = try await node.ask("GET", "/kv?" + refused.query)
      #expect(answer.status == refused.status && answer.text.hasPrefix(#"{"error":""#))
      for sound in ["limit=1", "limit=10000", "after=" + String(repeating: "k", count: 20)] {
        try await #expect(node.ask("GET", "/kv?" + sound).status == 200)
      }
      try await #expect(node.ask("POST", "/kv").status == 405)
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func aPageOfLongKeysEndsBeforeItIsTooLarge(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      let keys = (0..<600).map { String(repeating: "k", count: 4_090) + "\(100_000 + $0)" }
      for part in stride(from: 0, to: 600, by: 200) {
        try await Self.put(Array(keys[part..<part + 200]), client)
      }
      let pages = Mutex<[Int]>([])
      let listed = try await Self.list("limit=10000", client) { lines in
        pages.withLock { $0.append(lines) }
      }
      #expect(listed == keys)
      let lines = pages.withLock { $0 }
      #expect(lines.count == 3 && lines.allSatisfy { $0 * 4_096 < 1_060_000 })
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func whoeverDoesNotWaitForTheOrderIsToldToAskAgain(lane: ConfiguredLane) throws {
    let directory = TemporaryDirectory()
    let node = try DrivenNode(in: directory.path)
    func ask(_ target: String, _ method: String = "GET") throws -> String {
      let request = "\(method) \(target) HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
      return try node.run(Exchange(Array(request.utf8)), usesFastLane: lane == .fast).text
    }
    for key in ["a", "b", "c"] { _ = try ask("/kv/" + key, "PUT") }
    // The order cannot be had while a part of the index is held; all else goes on.
    try node.holding(Array("a".utf8)) {
      for _ in 0..<3 {
        let refused = try ask("/kv?timeout_ms=0")
        #expect(refused.hasPrefix("HTTP/1.1 503 ") && refused.contains("\r\nRetry-After: 1\r\n"))
      }
      try #expect(ask("/kv/b").hasPrefix("HTTP/1.1 200 "))
      try #expect(ask("/kv/d", "PUT").hasPrefix("HTTP/1.1 201 "))
    }
    let answer = try ask("/kv?limit=3")
    #expect(answer.hasPrefix("HTTP/1.1 200 ") && answer.contains("X-KV-Next: c\r\n"))
    try #expect(ask("/kv?after=c").contains(#"{"key":"d","version":"#))
    try node.close()
  }

  @Test(arguments: ConfiguredLane.allCases)
  func everyKeyThatStaysIsListedOnceWhileOthersComeAndGo(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      let stable = (0..<100_000).map { "k\(1_000_000 + 3 * $0)" }
      try await Self.put(stable, client)
      let changes = Changes()
      async let changing: Void = Self.change(node, changes)
      for limit in [10_000, 1_000] {
        let listed = try await Self.list("limit=\(limit)", client)
        #expect(zip(listed, listed.dropFirst()).allSatisfy { $0 < $1 })
        #expect(listed.filter { Int($0.dropFirst())! % 3 == 1 } == stable)
      }
      changes.areEnough.store(true, ordering: .releasing)
      try await changing
      #expect(changes.count.load(ordering: .acquiring) > 0)
    }
  }

  private final class Changes: Sendable {
    let areEnough = Atomic(false)
    let count = Atomic(0)
  }

  /// Creates and deletes keys between those that stay.
  private static func change(_ node: RunningNode, _ changes: Changes) async throws {
    let client = try node.connect()
    var random = SeededRandom(seed: 3)
    while !changes.areEnough.load(ordering: .acquiring), !Task.isCancelled {
      let lines = (0..<200).map { _ in
        let key = "k\(1_000_001 + 3 * random.below(100_000))"
        return random.once(in: 2)
          ? #"{"op":"delete","key":"\#(key)"}"# : #"{"op":"put","key":"\#(key)","value":"v"}"#
      }
      let answer = try await client.ask("POST", "/batch", body: lines.joined(separator: "\n"))
      #expect(answer.status == 200)
      changes.count.add(1, ordering: .releasing)
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func aNodeThatIsStoppedWhileItPutsKeysInOrderAnswersAndStops(
    lane: ConfiguredLane
  ) async throws {
    let node = try await RunningNode.start(lane)
    do {
      let client = try node.connect()
      try await Self.put((0..<100_000).map { "key-\($0)" }, client)
      let waiting = try (0..<10).map { _ in try node.connect() }
      for client in waiting { try client.send("GET", "/kv?limit=5&timeout_ms=3600000") }
      async let stopping: Void = node.stop()
      for client in waiting {
        do {
          let answer = try await client.answer()
          #expect([200, 503].contains(answer.status))
          #expect(answer.text.hasPrefix(answer.status == 200 ? #"{"key":"# : #"{"error":"#))
        } catch ClientConnection.Failure.ended(after: "") {
          // Nothing of it had been read.
        }
      }
      try await stopping
    }
    try await node.reopened().stop()
  }

  @Test(arguments: ConfiguredLane.allCases)
  func theOrderTakesMemoryOnceSomebodyHasAsked(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      try await Self.put(["a"], client)
      let name = "shiplog_directory_bytes "
      func bytes() async throws -> Double {
        let lines = try await client.ask("GET", "/metrics").text.split(separator: "\n")
        return lines.first { $0.hasPrefix(name) }.flatMap { Double($0.dropFirst(name.count)) } ?? -1
      }
      try await #expect(bytes() == 0)
      _ = try await client.ask("GET", "/kv")
      try await #expect(bytes() > 0)
    }
  }
}
