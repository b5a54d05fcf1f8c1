import Foundation
import Testing

@Suite struct SnapshotRouteTests {
  /// A node with a snapshot of some hundred keys.
  private func withSnapshot(
    _ lane: ConfiguredLane, _ body: (RunningNode, ClientAnswer) async throws -> Void
  ) async throws {
    try await RunningNode.with(lane) { node in
      try await write(node)
      let whole = try await node.ask("GET", "/snapshot")
      #expect(whole.status == 200)
      try await body(node, whole)
    }
  }

  /// Values that hardly compress, and a snapshot of them.
  private func write(
    _ node: RunningNode, count: Int = 10, valueBytes: Int = 60_000
  ) async throws {
    let client = try node.connect()
    for number in 0..<count {
      var body = ""
      while body.utf8.count < valueBytes {
        body += String(UInt64.random(in: 0 ... .max), radix: 36)
      }
      _ = try await client.ask("PUT", "/kv/key-\(number)", body: body)
    }
    let made = try await client.ask("POST", "/admin/snapshot")
    #expect(made.status == 200, "\(made.text)")
  }

  @Test(arguments: ConfiguredLane.allCases)
  func withoutASnapshotItIs404(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let answer = try await node.ask("GET", "/snapshot?replica=r")
      #expect(answer.status == 404 && answer.text.contains("no snapshot yet"))
      try await #expect(node.ask("POST", "/snapshot").status == 405)
      try await #expect(node.ask("GET", "/snapshot?replica=").status == 400)
      let long = String(repeating: "r", count: 129)
      try await #expect(node.ask("GET", "/snapshot?replica=\(long)").status == 400)
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func theWholeFileIsSentAsItIs(lane: ConfiguredLane) async throws {
    try await withSnapshot(lane) { node, whole in
      let directory = node.dataDirectory + "/snapshots"
      let name = try #require(
        FileManager.default.contentsOfDirectory(atPath: directory).first {
          $0.hasSuffix(".snap")
        })
      #expect(
        whole.body
          == Array(try #require(FileManager.default.contents(atPath: directory + "/" + name))))
      #expect(whole.body.count > 300_000)
      #expect(
        whole["content-type"] == "application/octet-stream" && whole["accept-ranges"] == "bytes")
      #expect(whole["x-kv-snapshot-sequence"].flatMap { UInt64($0) } == UInt64(name.dropLast(5)))
      let head = try await node.ask("HEAD", "/snapshot")
      #expect(head.status == 200 && head["content-length"] == "\(whole.body.count)")
      #expect(head["etag"] == whole["etag"] && head["etag"]?.hasPrefix("\"") == true)
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func aRangeIsThatPartOfIt(lane: ConfiguredLane) async throws {
    try await withSnapshot(lane) { node, whole in
      let size = whole.body.count
      let cases: [(String, Range<Int>)] = [
        ("bytes=0-0", 0..<1), ("bytes=100-199", 100..<200), ("bytes=\(size - 5)-", size - 5..<size),
        ("bytes=-7", size - 7..<size), ("bytes=1000-99999999", 1_000..<size),
        ("bytes=-99999999", 0..<size),
      ]
      for (range, expected) in cases {
        let answer = try await node.ask("GET", "/snapshot", ["Range: \(range)"])
        #expect(answer.status == 206 && answer.body == Array(whole.body[expected]), "\(range)")
        #expect(
          answer["content-range"]
            == "bytes \(expected.lowerBound)-\(expected.upperBound - 1)/\(size)")
        #expect(answer["etag"] == whole["etag"])
      }
      for range in ["bytes=\(size)-", "bytes=-0"] {
        let answer = try await node.ask("GET", "/snapshot", ["Range: \(range)"])
        #expect(answer.status == 416 && answer["content-range"] == "bytes */\(size)", "\(range)")
      }
      for range in ["bytes=5-2", "bytes=0-1,3-4", "lines=1-2", "bytes=a-", "bytes=--1"] {
        let answer = try await node.ask("GET", "/snapshot", ["Range: \(range)"])
        #expect(answer.status == 200 && answer.body == whole.body, "\(range)")
      }
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func whoHasBegunWithOneGoesOnWithIt(lane: ConfiguredLane) async throws {
    try await withSnapshot(lane) { node, first in
      let tag = try #require(first["etag"])
      let range = "Range: bytes=10-19"
      _ = try await node.ask("HEAD", "/snapshot?replica=copy")
      // More than are kept of themselves.
      for _ in 0..<3 { try await write(node, count: 2, valueBytes: 10) }
      let newest = try await node.ask("GET", "/snapshot")
      #expect(newest["etag"] != tag && newest.status == 200)
      for condition in ["If-Range: \(tag)", "If-Match: \(tag)"] {
        let held = try await node.ask("GET", "/snapshot?replica=copy", [range, condition])
        #expect(held.status == 206 && held.body == Array(first.body[10..<20]), "\(condition)")
        #expect(held["etag"] == tag)
      }
      // Nobody holds it for this one.
      let other = try await node.ask("GET", "/snapshot?replica=other", [range, "If-Range: \(tag)"])
      #expect(other.status == 200 && other.body == newest.body)
      let gone = try await node.ask("GET", "/snapshot?replica=other", [range, "If-Match: \(tag)"])
      #expect(gone.status == 412)
      let any = try await node.ask("GET", "/snapshot?replica=other", [range, "If-Match: *"])
      #expect(any.status == 206 && any["etag"] == newest["etag"])
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func moreReadersThanAllowedAreTurnedAway(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane, { $0.limits.snapshotReadersMax = 1 }) { node in
      try await write(node, count: 20, valueBytes: 1_000_000)
      // Takes the head, and nothing more than the system takes for it.
      let slow = try node.connect()
      try slow.send("GET", "/snapshot")
      let head = try await slow.head()
      #expect(head.status == 200)
      let refused = try await node.ask("GET", "/snapshot")
      #expect(refused.status == 503 && refused["retry-after"] == "1")
      let length = try #require(head["content-length"].flatMap { Int($0) })
      _ = try await slow.bytes(length)
      #expect(try await slow.isEnded())
      // The place is free once the node knows of the end.
      var status = 503
      let deadline = ContinuousClock.now + .seconds(10)
      while status == 503, ContinuousClock.now < deadline {
        status = try await node.ask("HEAD", "/snapshot").status
      }
      #expect(status == 200)
    }
  }

  @Test func aClientThatTakesNothingIsClosed() async throws {
    try await RunningNode.with(.fast, { $0.limits.answerSeconds = 1 }) { node in
      // More than the system takes for a client that does not read.
      try await write(node, count: 20, valueBytes: 1_500_000)
      let slow = try node.connect()
      try slow.send("GET", "/snapshot")
      let length = try #require(try await slow.head()["content-length"].flatMap { Int($0) })
      // Only the one that asks is left.
      var connections = 2
      let deadline = ContinuousClock.now + .seconds(30)
      while connections > 1, ContinuousClock.now < deadline {
        try await Task.sleep(for: .milliseconds(20))
        let metrics = try await node.ask("GET", "/metrics").text
        let line = try #require(
          metrics.split(separator: "\n").first { $0.hasPrefix("shiplog_connections ") })
        connections = try #require(Int(line.split(separator: " ")[1]))
      }
      #expect(connections == 1)
      await #expect(throws: ClientConnection.Failure.self) { try await slow.bytes(length) }
    }
  }
}
