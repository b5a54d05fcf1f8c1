import Foundation
import KVClient
import Testing

/// What programs and commands make of a leaderless shard, and of several.
@Suite("Clients of a leaderless shard") struct LeaderlessClientTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private static func address(_ node: ServedNode) -> NodeAddress {
    NodeAddress(host: node.address.ip, port: node.address.port)
  }

  private func kv(_ words: String...) async throws -> Outcome {
    try await Executable.kv.run(words, in: directory)
  }

  /// Writes at both nodes, neither of which hears of the other's: both values stand until somebody replaces them.
  private func makeSiblings(
    _ key: String, _ values: [String], _ set: LeaderlessSet, _ nodes: inout [ServedNode]
  ) async throws {
    try await nodes[1].stop()
    try LeaderlessSet.put(key, values[0], at: nodes[0])
    nodes[0].process.send(SIGSTOP)
    nodes[1] = try await set.start(1)
    try LeaderlessSet.put(key, values[1], at: nodes[1])
    nodes[0].process.send(SIGCONT)
    try await LeaderlessSet.settle(nodes)
    #expect(try LeaderlessSet.values(key, at: nodes[0]) == values.sorted())
  }

  @Test("the library reads all values of a key, and replaces those that were seen")
  func library() async throws {
    let set = try LeaderlessSet(in: directory, nodes: 2)
    var nodes = try await set.start()
    let client = KVClient(seeds: [Self.address(nodes[0])])
    let session = KVSession()
    let written = try await client.put("plain", "1", session: session)
    let read = try #require(try await client.get("plain", session: session))
    #expect(read.text == "1" && read.siblings.isEmpty && read.etag == written.etag)
    #expect(read.context == written.context && read.context?.isEmpty == false)
    // The tag of a put is that of its value alone.
    try await LeaderlessSet.settle(nodes)
    let second = try await client.put("plain", "2", if: .matches(written.etag))
    #expect(second.version > written.version)
    try await LeaderlessSet.settle(nodes)
    let error = await #expect(throws: KVClientError.self) {
      try await client.put("plain", "3", if: .matches(written.etag))
    }
    #expect(error?.isUnmetCondition == true)

    try await makeSiblings("k", ["left", "right \u{e9}"], set, &nodes)
    let found = try #require(try await client.get("k"))
    #expect(found.text == "right \u{e9}" && found.siblings.map(\.text) == ["left"])
    #expect(found.siblings.allSatisfy { $0.version < found.version })
    let context = try #require(found.context)
    // What was seen is replaced; what is written meanwhile, at another node, is not.
    let one = try LeaderlessSet.put("k", "one", at: nodes[0], context: "\(context)")
    let beside = try LeaderlessSet.put("k", "beside", at: nodes[1], context: "\(context)")
    try await LeaderlessSet.settle(nodes)
    #expect(try LeaderlessSet.values("k", at: nodes[1]) == ["beside", "one"])
    for (written, left) in [(one, ["beside"]), (beside, [])] {
      let context = KVContext(written.headers["x-kv-context"] ?? "")
      #expect(try await client.delete("k", context: try #require(context)) == true)
      try await LeaderlessSet.settle(nodes)
      #expect(try LeaderlessSet.values("k", at: nodes[1]) == left)
    }
    #expect(try await client.get("k") == nil)
    await client.close()
    for node in nodes { try await node.stop() }
  }

  @Test("a session sees its write also where another value of the same log stands beside it")
  func sessionBeside() async throws {
    let set = try LeaderlessSet(in: directory, nodes: 2)
    var nodes = try await set.start()
    try LeaderlessSet.put("k", "old", at: nodes[0])
    let context = KVContext(try LeaderlessSet.context("k", at: nodes[0]))
    try LeaderlessSet.put("k", "another's", at: nodes[0])
    try await LeaderlessSet.settle(nodes)
    try await nodes[1].stop()
    let alone = KVClient(seeds: [Self.address(nodes[0])])
    let session = KVSession()
    let written = try await alone.put("k", "mine", context: context, session: session)
    #expect(written.context == context, "it would cover what stands beside it")
    await alone.close()
    // The other node comes back, and hears nothing of that.
    nodes[0].process.send(SIGSTOP)
    nodes[1] = try await set.start(1)
    let other = KVClient(seeds: [Self.address(nodes[1])], timeout: .seconds(20))
    #expect(try LeaderlessSet.values("k", at: nodes[1]) == ["another's"])
    let reading = Task { try await other.get("k", session: session) }
    try await Task.sleep(for: .milliseconds(300))
    nodes[0].process.send(SIGCONT)
    let found = try #require(try await reading.value)
    #expect([found.text] + found.siblings.map(\.text) == ["mine", "another's"])
    // What is absent was seen, too.
    try await LeaderlessSet.settle(nodes)
    #expect(try await other.delete("k", session: session))
    #expect(try await other.get("k", session: session) == nil)
    #expect(session.minimum(shard: 0, of: 1)?.contains(",") == true)
    await other.close()
    for node in nodes { try await node.stop() }
  }

  @Test("a session's reads see its writes at whichever node, and go on when one is gone")
  func session() async throws {
    let set = try LeaderlessSet(in: directory, nodes: 3)
    var nodes = try await set.start()
    try await ReplicaSet.awaitStreaming(nodes[0], count: 2)
    let client = KVClient(
      seeds: [Self.address(nodes[0])], readFrom: .any, timeout: .seconds(30))
    let session = KVSession()
    for number in 0..<150 {
      try await client.put("k\(number % 7)", "\(number)", session: session)
      let found = try await client.get("k\(number % 7)", session: session)
      #expect(found?.text == "\(number)" && found?.siblings == [])
      if number % 10 == 0 {
        #expect(try await client.delete("k\(number % 7)", session: session))
        #expect(try await client.get("k\(number % 7)", session: session) == nil)
      }
    }
    _ = try await client.batch(
      [.put(Array("b1".utf8), [1]), .put(Array("b2".utf8), [2])], session: session)
    for _ in 0..<6 {
      #expect(try await client.get("b2", session: session)?.value == [2])
    }
    let many = try await client.getMany(["b1", "b2"].map { Array($0.utf8) }, session: session)
    #expect(many.map { $0?.value } == [[1], [2]])
    // Everybody has it before one is gone: with a write quorum of 1 it would be gone, too, until it is back.
    try await LeaderlessSet.settle(nodes)
    try await nodes[1].kill()
    for number in 0..<30 {
      try await client.put("after", "\(number)", session: session)
      #expect(try await client.get("after", session: session)?.text == "\(number)")
    }
    nodes[1] = try await set.start(1)
    try await LeaderlessSet.settle(nodes)
    await client.close()
    for node in nodes { try await node.stop() }
  }

  @Test("the commands show the newest value, say that there are others, and replace what was seen")
  func commands() async throws {
    let set = try LeaderlessSet(in: directory, nodes: 2)
    var nodes = try await set.start()
    try await makeSiblings("k", ["left", "right"], set, &nodes)
    let address = "\(nodes[0].address)"
    let get = try await kv("get", "k", "--http-addr", address)
    #expect(get.status == 0 && get.output == "right", "\(get.output)\(get.errors)")
    #expect(get.errors.contains("the newest of 2 values"))
    let json = try await kv("get", "k", "--json", "--http-addr", address)
    let object = try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any]
    let siblings = object?["siblings"] as? [[String: Any]]
    #expect(siblings?.map { $0["value"] as? String } == ["left"])
    let context = try #require(object?["context"] as? String)
    let set1 = try await kv("set", "k", "one", "--context", context, "--http-addr", address)
    #expect(set1.status == 0 && set1.output.hasPrefix("version "), "\(set1.errors)")
    let again = try await kv("get", "k", "--http-addr", address)
    #expect(again.output == "one" && again.errors.isEmpty)
    let refused = try await kv("set", "k", "one", "--context", "x", "--http-addr", address)
    #expect(refused.status == 64 && refused.errors.contains("that is no context"))
    // What that context has seen has gone already.
    let delete = try await kv("delete", "k", "--context", context, "--http-addr", address)
    #expect(delete.status == 1, "\(delete.output)")
    #expect(try await kv("get", "k", "--http-addr", address).output == "one")
    for node in nodes { try await node.stop() }
  }

  @Test("kv status has a row for each node: what it lacks of all logs, and who does not answer")
  func status() async throws {
    let set = try LeaderlessSet(in: directory, nodes: 3)
    let nodes = try await set.start()
    for number in 0..<30 { try LeaderlessSet.put("k\(number)", "v", at: nodes[number % 3]) }
    try await LeaderlessSet.settle(nodes)
    var rows: [[String]] = []
    // A mark may be on its way.
    for _ in 0..<50 where rows.isEmpty || rows.contains(where: { $0.contains("records") }) {
      let outcome = try await kv("status", "--http-addr", "\(nodes[1].address)")
      rows = outcome.lines.map { $0.split(separator: " ").map(String.init) }
      #expect(outcome.status == 0 && rows.count == 4, "\(outcome.output)\(outcome.errors)")
    }
    for row in rows.dropFirst() {
      #expect(row[1] == "leaderless" && row[2] == "ready" && row[3] == "-" && row[5] == "0")
      #expect(row[6] == "30")
    }
    #expect(Set(rows.dropFirst().map { $0[0] }) == Set(nodes.map { "\($0.address)" }))
    let first = nodes[0]
    for line in ["shiplog_logs 3", "shiplog_lacked_records 0", "shiplog_pending_deletions 0"] {
      // A mark may be on its way.
      try await LeaderlessSet.within(line) {
        try LeaderlessSet.send(HTTPRequest(method: "GET", target: "/metrics"), to: first).text
          .contains("\n\(line)\n")
      }
    }
    // One that is gone lacks nobody knows what, and what the others write is not yet at whom they do not reach.
    try await nodes[2].kill()
    let gone = "\(nodes[2].address)"
    var lags: Set<Int> = []
    // A mark may be on its way.
    for _ in 0..<50 where lags != [0] {
      let json = try await kv("status", "--json", "--http-addr", "\(nodes[0].address)")
      let object = try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any]
      let found = try #require(object?["nodes"] as? [[String: Any]])
      #expect(found.count == 3)
      for node in found {
        let isGone = node["address"] as? String == gone
        #expect(node["state"] as? String == (isGone ? "unreachable" : "ready"))
        #expect(node["role"] as? String == "leaderless")
        #expect((node["lag_records"] as? Int == nil) == isGone)
      }
      lags = Set(found.compactMap { $0["lag_records"] as? Int })
    }
    #expect(lags == [0])
    for node in nodes[..<2] { try await node.stop() }
  }

  @Test(
    "several shards of a configuration: any node answers for any key, and the library goes to the right ones"
  )
  func shards() async throws {
    let sets = (0..<2).map { _ in (0..<2).map { _ in LoopbackAddress.fresh() } }
    let path = directory.path("sharding.json")
    let shards = sets.enumerated().map { index, nodes in
      let names = nodes.map { "\"\($0)\"" }.joined(separator: ",")
      return "{\"name\":\"s\(index)\",\"index\":\(index),\"nodes\":[\(names)]}"
    }
    try Data(
      "{\"version\":1,\"mode\":\"leaderless\",\"shards\":[\(shards.joined(separator: ","))]}".utf8
    ).write(to: URL(fileURLWithPath: path))
    let settings = sets.joined().map { address in
      var settings = ServedNode.Settings(in: directory, data: directory.path("\(address.port)"))
      settings.address = address
      settings.flags = ["--config-file", path, "--segment-bytes", "65536"]
      return settings
    }
    var nodes: [ServedNode] = []
    for one in settings { nodes.append(try await ServedNode.start(one)) }
    // Every node is asked for keys of both shards, and each node of a shard takes writes.
    for number in 0..<80 {
      let answer = try LeaderlessSet.put("k\(number)", "\(number)", at: nodes[number % 4])
      #expect(answer.status == 201, "\(answer.text)")
    }
    try await LeaderlessSet.settle(Array(nodes[..<2]))
    try await LeaderlessSet.settle(Array(nodes[2...]))
    for node in nodes {
      for number in 0..<80 {
        #expect(try LeaderlessSet.values("k\(number)", at: node) == ["\(number)"])
      }
    }
    let counts = try nodes.map { try ReplicaSet.status($0)["keys"] as? Int ?? -1 }
    #expect(counts[0] == counts[1] && counts[2] == counts[3] && counts[0] + counts[2] == 80)
    #expect(counts.min()! > 0)
    let client = KVClient(seeds: [Self.address(nodes[3])], timeout: .seconds(30))
    let session = KVSession()
    for number in 0..<80 {
      try await client.put("k\(number)", "again \(number)", session: session)
      #expect(try await client.get("k\(number)", session: session)?.text == "again \(number)")
    }
    for shard in 0..<2 {
      try await LeaderlessSet.settle(Array(nodes[(2 * shard)..<(2 * shard + 2)]))
    }
    let forwarded = try nodes.map { try Self.forwarded($0) }
    for number in 0..<80 {
      #expect(try await client.get("k\(number)", session: session)?.text == "again \(number)")
    }
    #expect(try nodes.map { try Self.forwarded($0) } == forwarded, "it knows whose keys they are")
    // A node of the other shard asks whichever node there is.
    try await nodes[0].kill()
    let key = try #require(
      (0..<80).first { number in
        ShardCluster.shard(of: "k\(number)", 2) == 0
      })
    let alive = nodes[2]
    try await LeaderlessSet.within("the other node of the shard is asked") {
      try LeaderlessSet.put("k\(key)", "late", at: alive).status == 200
    }
    #expect(try LeaderlessSet.values("k\(key)", at: nodes[3]) == ["late"])
    await client.close()
    for node in nodes[1...] { try await node.stop() }
  }

  private static func forwarded(_ node: ServedNode) throws -> Int {
    let text = try LeaderlessSet.send(HTTPRequest(method: "GET", target: "/metrics"), to: node).text
    let line = text.split(separator: "\n").first {
      $0.hasPrefix("shiplog_forwarded_requests_total ")
    }
    return line.flatMap { Int($0.split(separator: " ")[1]) } ?? 0
  }
}
