import Server
import Synchronization
import Testing

@Suite("A read that asks several members") struct ReadQuorumTests {
  /// Runs `body` beside a node of three members: one that is told how far to be, and one that is not there.
  private static func with(
    _ lane: ConfiguredLane = .fast, readQuorum: Int = 1,
    _ script: @escaping FakeMember.Script,
    _ body: (RunningNode, FakeMember) async throws -> Void
  ) async throws {
    try await FakeMember.with(script) { member in
      try await RunningNode.with(
        lane,
        {
          $0.members = [
            Member(id: "node", address: "127.0.0.1:1"), Member(id: "b", address: member.address),
            Member(id: "c", address: "127.0.0.1:1"),
          ]
          $0.readQuorum = readQuorum
        }
      ) { node in try await body(node, member) }
    }
  }

  /// Where the node is, moved by so many numbers.
  private static func position(
    of node: RunningNode, plus more: Int = 0, origin: String? = nil, epochs: UInt64 = 0
  ) async throws -> String {
    let parts = try await node.ask("GET", "/wal/position").text.split(separator: " ")
    let epoch = parts[1].split(separator: "-")
    return
      "\(origin ?? String(parts[0])) \(try #require(UInt64(epoch[0])) + epochs)-\(epoch[1]) \(try #require(Int(parts[2])) + more)"
  }

  private final class Told: Sendable {
    private let text = Mutex("")
    var value: String { text.withLock { $0 } }
    func set(_ value: String) { text.withLock { $0 = value } }
  }

  private static let reads = [
    "/kv/k?r=2", "/get?key=k&r=2", "/get/k?r=2", "/kv?key=k&r=2", "/kv?prefix=k&r=2",
  ]

  @Test(
    "is answered here where the others have no more, by every route",
    arguments: ConfiguredLane.allCases)
  func here(lane: ConfiguredLane) async throws {
    let told = Told()
    try await Self.with(lane, { _ in FakeMember.Answer(body: told.value) }) { node, member in
      try await #expect(node.ask("PUT", "/kv/k", body: "v").status == 201)
      for more in [0, -1] {
        told.set(try await Self.position(of: node, plus: more))
        for read in Self.reads {
          let answer = try await node.ask("GET", read)
          #expect(answer.status == 200 && answer["x-kv-forwarded-by"] == nil, "\(read)")
        }
        try await #expect(node.ask("GET", "/kv/absent?r=2").status == 404)
      }
      #expect(member.requests.isEmpty)
    }
  }

  @Test(
    "is handed on to the member that has more, as it came, by every route",
    arguments: ConfiguredLane.allCases)
  func there(lane: ConfiguredLane) async throws {
    let told = Told()
    try await Self.with(
      lane,
      { request in
        request.head.uri.hasPrefix("/wal/position")
          ? FakeMember.Answer(body: told.value)
          : FakeMember.Answer(
            status: 203, headers: [("ETag", "\"9.9\""), ("X-KV-Node", "b:1"), ("Connection", "x")],
            body: "theirs")
      }
    ) { node, member in
      try await #expect(node.ask("PUT", "/kv/k", body: "v").status == 201)
      for (number, epochs) in [(1_000, 0), (-1, 1)] as [(Int, UInt64)] {
        told.set(try await Self.position(of: node, plus: number, epochs: epochs))
        let client = try node.connect()
        for read in Self.reads {
          let answer = try await client.ask("GET", read, ["If-None-Match: \"1.1\"", "X-Own: a"])
          #expect(answer.status == 203 && answer.text == "theirs", "\(read)")
          #expect(answer["etag"] == "\"9.9\"" && answer["x-kv-node"] == "b:1")
          #expect(answer["x-kv-forwarded-by"] == node.address && answer["connection"] == nil)
          let request = try #require(member.requests.last)
          #expect(request.head.uri == read && request.head.method == .GET)
          #expect(request.head.headers["x-own"] == ["a"])
          #expect(request.head.headers["if-none-match"] == ["\"1.1\""])
          #expect(request.head.headers["x-kv-forwarded-by"] == [node.address])
        }
        try client.send("HEAD", "/kv/k?r=2", ["X-Own: a"])
        let head = try await client.answer(toHead: true)
        #expect(head.status == 203 && head["content-length"] == "6")
        // The connection goes on.
        try await #expect(client.ask("GET", "/health").text == "ok")
      }
      // Who is asked by another node has been chosen.
      let position = try await Self.position(of: node)
      let chosen = try await node.ask("GET", "/kv/k?r=2", ["X-KV-Read-Quorum: \(position)"])
      #expect(chosen.text == "v")
      // And has less by now.
      for text in ["met", try await Self.position(of: node, plus: 1_000)] {
        let less = try await node.ask("GET", "/kv/k?r=2", ["X-KV-Read-Quorum: \(text)"])
        #expect(less.status == 503, "\(text)")
      }
    }
  }

  @Test("asks by default as many as the node is told to", arguments: ConfiguredLane.allCases)
  func byDefault(lane: ConfiguredLane) async throws {
    try await Self.with(lane, readQuorum: 2, { _ in FakeMember.Answer(status: 503) }) {
      node, _ in
      try await #expect(node.ask("PUT", "/kv/k", body: "v").status == 201)
      for read in ["/kv/k", "/get?key=k", "/get/k", "/kv?key=k", "/kv?prefix=k"] {
        let answer = try await node.ask("GET", read)
        #expect(answer.status == 503 && answer["retry-after"] == "1", "\(read)")
        #expect(answer.text.contains("2 members are to be asked, and 1 of 3"))
      }
      try await #expect(node.ask("GET", "/kv/k?r=1").text == "v")
      try await #expect(node.ask("GET", "/local_read/k").status == 200)
    }
  }

  @Test("counts nobody who follows another log, or answers something else")
  func others() async throws {
    let told = Told()
    try await Self.with(.fast, { _ in FakeMember.Answer(body: told.value) }) { node, _ in
      let bad = [
        try await Self.position(of: node, plus: 1_000, origin: "00000000000000aa"), "", "a b c",
        "1 2 3 4", "\(try await Self.position(of: node)) ",
      ]
      for text in bad {
        told.set(text)
        try await #expect(node.ask("GET", "/kv/k?r=2").status == 503, "\(text)")
      }
      told.set(try await Self.position(of: node))
      try await #expect(node.ask("GET", "/kv/k?r=2").status == 404)
      // The third is not there.
      try await #expect(node.ask("GET", "/kv/k?r=3").status == 503)
      for r in ["0", "4", "x", ""] {
        try await #expect(node.ask("GET", "/kv/k?r=\(r)").status == 400)
      }
    }
  }

  @Test("does not count a node that the configuration does not name")
  func guest() async throws {
    let told = Told()
    try await FakeMember.with({ _ in FakeMember.Answer(body: told.value) }) { member in
      try await RunningNode.with(
        .fast,
        {
          $0.members = [
            Member(id: "b", address: member.address), Member(id: "c", address: "127.0.0.1:1"),
          ]
        }
      ) { node in
        told.set(try await Self.position(of: node))
        try await #expect(node.ask("GET", "/kv/k?r=1").status == 404)
        try await #expect(node.ask("GET", "/kv/k?r=2").status == 503)
        try await #expect(node.ask("GET", "/kv/k?r=3").status == 400)
      }
    }
  }

  @Test("trusts no answer that was asked for before it came")
  func fresh() async throws {
    let told = Told()
    let asked = Mutex(0)
    let (release, releaser) = AsyncStream<Void>.makeStream()
    let (arrived, arrival) = AsyncStream<Void>.makeStream()
    try await Self.with(
      .fast,
      { request in
        guard request.head.uri.hasPrefix("/wal/position") else {
          return FakeMember.Answer(body: "theirs")
        }
        let number = asked.withLock { number in
          number += 1
          return number
        }
        // What it says is from before it waits.
        let text = told.value
        if number == 1 {
          arrival.yield()
          for await _ in release { break }
        }
        return FakeMember.Answer(body: text)
      }
    ) { node, _ in
      try await #expect(node.ask("PUT", "/kv/k", body: "v").status == 201)
      told.set(try await Self.position(of: node))
      let first = try node.connect()
      try first.send("GET", "/kv/k?r=2&timeout_ms=600000")
      for await _ in arrived { break }
      told.set(try await Self.position(of: node, plus: 1_000))
      let second = try node.connect()
      try second.send("GET", "/kv/k?r=2&timeout_ms=600000")
      // It has come once another request on the same loop is answered.
      try await #expect(node.ask("GET", "/health").text == "ok")
      releaser.yield()
      try await #expect(first.answer().text == "v")
      try await #expect(second.answer().text == "theirs")
      #expect(asked.withLock { $0 } == 2)
    }
  }

  @Test("says which node has it and does not answer, and ends where it has come in a circle")
  func unreachable() async throws {
    let told = Told()
    try await Self.with(
      .fast,
      { request in
        request.head.uri.hasPrefix("/wal/position")
          ? FakeMember.Answer(body: told.value) : FakeMember.Answer(isMissing: true)
      }
    ) { node, member in
      told.set(try await Self.position(of: node, plus: 1_000))
      let answer = try await node.ask("GET", "/kv/k?r=2")
      #expect(answer.status == 502 && answer.text.contains("\(member.address) cannot be reached"))
      let hops = ["X-KV-Forwarded-By: a:1, b:1", "X-KV-Forwarded-By: c:1"]
      try await #expect(node.ask("GET", "/kv/k?r=2", hops).status == 508)
    }
  }

  @Test("is answered when the node stops, and in time")
  func stop() async throws {
    let (arrived, arrival) = AsyncStream<Void>.makeStream()
    let (release, releaser) = AsyncStream<Void>.makeStream()
    try await FakeMember.with({ _ in
      arrival.yield()
      for await _ in release { break }
      return FakeMember.Answer(status: 503)
    }) { member in
      let node = try await RunningNode.start(.standard) {
        $0.members = [
          Member(id: "node", address: "127.0.0.1:1"), Member(id: "b", address: member.address),
        ]
      }
      try await #expect(node.ask("GET", "/kv/k?r=2&timeout_ms=1").status == 503)
      let client = try node.connect()
      try client.send("GET", "/kv/k?r=2&timeout_ms=600000")
      for await _ in arrived { break }
      try await #expect(node.ask("GET", "/health").text == "ok")
      async let stopping: Void = node.stop()
      try await #expect(client.answer().status == 503)
      releaser.finish()
      try await stopping
    }
  }
}
