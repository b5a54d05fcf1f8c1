import Foundation
import Testing

@Suite("A leaderless shard") struct LeaderlessTests {
  @Test("takes writes at any node, and all nodes come to the same", arguments: ["on", "off"])
  func anyNode(lane: String) async throws {
    let directory = try TemporaryDirectory()
    let set = try LeaderlessSet(in: directory, nodes: 3, flags: ["--fast-lane", lane])
    var nodes = try await set.start()
    try await ReplicaSet.awaitStreaming(nodes[0], count: 2)
    for number in 0..<30 {
      let answer = try LeaderlessSet.put("k\(number % 10)", "\(number)", at: nodes[number % 3])
      #expect([200, 201].contains(answer.status) && answer.headers["x-kv-context"] != nil)
    }
    #expect(try LeaderlessSet.put("w", "all", at: nodes[1], query: "?w=3").status == 201)
    for node in nodes { #expect(try LeaderlessSet.values("w", at: node) == ["all"]) }
    try await LeaderlessSet.settle(nodes)
    #expect(try LeaderlessSet.send(.delete("w"), to: nodes[2]).status == 204)
    #expect(try LeaderlessSet.send(.delete("w"), to: nodes[2]).status == 404)
    try await LeaderlessSet.settle(nodes)
    #expect(try LeaderlessSet.values("w", at: nodes[0]) == [])
    let before = try ReplicaSet.status(nodes[0])["origin"] as? String
    for node in nodes { try await node.stop() }
    nodes = try await set.start()
    try await LeaderlessSet.settle(nodes)
    // A stop in order, and even a kill, leaves a log that can be gone on with.
    #expect(try ReplicaSet.status(nodes[0])["origin"] as? String == before)
    try await nodes[0].kill()
    nodes[0] = try await set.start(0)
    #expect(try ReplicaSet.status(nodes[0])["origin"] as? String == before)
    #expect(try LeaderlessSet.values("w", at: nodes[0]) == [])
    for node in nodes { try await node.stop() }
  }

  @Test("keeps what was written at the same time, until a write replaces it")
  func siblings() async throws {
    let directory = try TemporaryDirectory()
    var set = try LeaderlessSet(in: directory, nodes: 3)
    set.settings[2].flags += ["--conflicts", "lww"]
    var nodes = try await set.start()
    try LeaderlessSet.put("s", "old", at: nodes[0])
    try LeaderlessSet.put("d", "old", at: nodes[0])
    try await LeaderlessSet.settle(nodes)
    let seen = try LeaderlessSet.context("s", at: nodes[1])
    try await nodes[1].stop()
    try LeaderlessSet.put("s", "left", at: nodes[0])
    try LeaderlessSet.put("d", "kept", at: nodes[0])
    // Only the second node is there: it knows nothing of that.
    for number in [0, 2] { nodes[number].process.send(SIGSTOP) }
    nodes[1] = try await set.start(1)
    try LeaderlessSet.put("s", "right", at: nodes[1])
    #expect(try LeaderlessSet.send(.delete("d"), to: nodes[1]).status == 204)
    for number in [0, 2] { nodes[number].process.send(SIGCONT) }
    try await LeaderlessSet.settle(nodes)
    for node in nodes[..<2] {
      #expect(try LeaderlessSet.values("s", at: node) == ["left", "right"])
      #expect(try LeaderlessSet.values("d", at: node) == ["kept"], "a put wins over a delete")
    }
    // The last writer is the newest, by its own clock and what it had seen.
    #expect(try LeaderlessSet.values("s", at: nodes[2]) == ["right"])
    let json = try LeaderlessSet.send(
      HTTPRequest(method: "GET", target: "/get/s"), to: nodes[0]
    ).members()
    #expect(json["value"] as? String == "right" && json["siblings"] as? Int == 2)
    // What an old context does not cover stays beside it.
    try LeaderlessSet.put("s", "beside", at: nodes[2], context: seen)
    try await LeaderlessSet.settle(nodes)
    #expect(try LeaderlessSet.values("s", at: nodes[0]) == ["beside", "left", "right"])
    let all = try LeaderlessSet.context("s", at: nodes[0])
    try LeaderlessSet.put("s", "one", at: nodes[1], context: all)
    try await LeaderlessSet.settle(nodes)
    for node in nodes { #expect(try LeaderlessSet.values("s", at: node) == ["one"]) }
    for context in ["x", "0000000000000001:0", all + ",x"] {
      #expect(try LeaderlessSet.put("s", "no", at: nodes[0], context: context).status == 400)
    }
    for node in nodes { try await node.stop() }
  }

  @Test("bounds the values of a key that a writer with an old context makes")
  func bounded() async throws {
    let directory = try TemporaryDirectory()
    let set = try LeaderlessSet(in: directory, nodes: 1)
    let node = try await set.start(0)
    try LeaderlessSet.put("k", "first", at: node)
    let context = try LeaderlessSet.context("k", at: node)
    var statuses: [Int] = []
    for number in 0..<40 {
      statuses.append(
        try LeaderlessSet.put("k", "\(number)", at: node, context: context).status)
    }
    #expect(
      statuses.prefix(32).allSatisfy { $0 == 200 } && statuses.suffix(8).allSatisfy { $0 == 409 })
    #expect(try LeaderlessSet.values("k", at: node).count == 32)
    #expect(try LeaderlessSet.put("k", "one", at: node).status == 200)
    #expect(try LeaderlessSet.values("k", at: node) == ["one"])
    try await node.stop()
  }

  @Test("asks so many nodes for a read as it says, and merges what they have")
  func quorums() async throws {
    let directory = try TemporaryDirectory()
    let set = try LeaderlessSet(in: directory, nodes: 3, writeQuorum: 2, readQuorum: 2)
    var nodes = try await set.start()
    try await ReplicaSet.awaitStreaming(nodes[0], count: 2)
    let second = nodes[1]
    try await LeaderlessSet.within("two nodes can be asked") {
      try LeaderlessSet.send(.get("none"), to: second).status == 404
    }
    for number in 0..<50 {
      let written = try LeaderlessSet.put("k\(number)", "v", at: nodes[number % 2])
      #expect(written.status == 201)
      #expect(try LeaderlessSet.values("k\(number)", at: nodes[2]) == ["v"])
      // It may be the one of three that has not got it yet: then it says so.
      let seen = try #require(written.headers["x-kv-context"])
      let delete = HTTPRequest(method: "DELETE", target: "/kv/k\(number)?min_version=\(seen)")
      try await LeaderlessSet.within("it has what is to be removed") {
        let answer = try LeaderlessSet.send(delete, to: second)
        #expect([204, 503].contains(answer.status), "\(answer.status) \(answer.text)")
        return answer.status == 204
      }
      #expect(try LeaderlessSet.values("k\(number)", at: nodes[2]) == [])
    }
    try await nodes[0].kill()
    #expect(try LeaderlessSet.put("a", "1", at: nodes[1]).status == 201)
    #expect(try LeaderlessSet.values("a", at: nodes[2]) == ["1"])
    try await nodes[1].kill()
    let late = try LeaderlessSet.send(
      HTTPRequest(method: "GET", target: "/kv/a?timeout_ms=300"), to: nodes[2])
    #expect(late.status == 503)
    let alone = try LeaderlessSet.send(
      HTTPRequest(method: "GET", target: "/kv/a?r=1"), to: nodes[2])
    #expect(alone.status == 200)
    let write = try LeaderlessSet.put("b", "1", at: nodes[2], query: "?timeout_ms=300")
    #expect([503, 504].contains(write.status))
    for number in 0..<2 { nodes[number] = try await set.start(number) }
    try await LeaderlessSet.settle(nodes)
    for node in nodes { try await node.stop() }
  }

  @Test("gets everything again on a node whose disk was replaced, in a log of its own")
  func emptied() async throws {
    let directory = try TemporaryDirectory()
    let set = try LeaderlessSet(in: directory, nodes: 3)
    var nodes = try await set.start()
    for number in 0..<60 { try LeaderlessSet.put("k\(number)", "v", at: nodes[number % 3]) }
    try await LeaderlessSet.settle(nodes)
    let before = try #require(try ReplicaSet.status(nodes[0])["origin"] as? String)
    try await nodes[0].kill()
    try FileManager.default.removeItem(atPath: set.settings[0].data)
    nodes[0] = try await set.start(0)
    try await LeaderlessSet.settle(nodes)
    let status = try ReplicaSet.status(nodes[0])
    #expect(status["origin"] as? String != before && status["keys"] as? Int == 60)
    #expect((status["origins"] as? [String: Int])?.keys.contains(before) == true)
    // The log of before is here, byte for byte, though nobody writes it any more.
    for node in nodes { try await node.stop() }
    let outcome = try await Executable.dump.run(
      ["--diff", set.settings[1].data, set.settings[0].data, "--origin", before], in: directory)
    #expect(outcome.status == 0, "\(outcome.output)\(outcome.errors)")
    let verdict = try await Executable.dump.run(["--verify", set.settings[0].data], in: directory)
    #expect(verdict.status == 0, "\(verdict.output)")
  }

  @Test("goes on behind another node's snapshot where the logs do not go back far enough")
  func behindSnapshots() async throws {
    let directory = try TemporaryDirectory()
    let set = try LeaderlessSet(
      in: directory, nodes: 3,
      flags: ["--segment-bytes", "4096", "--wal-retain-bytes", "4KiB"])
    var nodes = try await set.start()
    for number in 0..<90 { try LeaderlessSet.put("k\(number)", "old", at: nodes[number % 3]) }
    try await LeaderlessSet.settle(nodes)
    // It has writes that nobody else has.
    for number in [0, 1] { nodes[number].process.send(SIGSTOP) }
    try LeaderlessSet.put("own", "unshipped", at: nodes[2])
    try await nodes[2].kill()
    for number in [0, 1] { nodes[number].process.send(SIGCONT) }
    let long = String(repeating: "long ", count: 200)
    for round in 0..<3 {
      for number in 0..<90 {
        let node = nodes[number % 2]
        if number % 3 == 0, round == 0 {
          #expect(try LeaderlessSet.send(.delete("k\(number)"), to: node).status == 204)
        } else if number % 3 != 0 {
          try LeaderlessSet.put("k\(number)", long + "\(round)", at: node)
        }
      }
      for number in [0, 1] {
        let made = try LeaderlessSet.send(
          HTTPRequest(method: "POST", target: "/admin/snapshot"), to: nodes[number])
        #expect(made.status == 200)
      }
    }
    let first = nodes[0]
    try await LeaderlessSet.within("the logs are given up") {
      let wal = try ReplicaSet.status(first)["wal"] as? [String: Any]
      return (wal?["oldest_sequence"] as? Int ?? 0) > 60
    }
    // Nor is it in anybody's memory.
    for number in [0, 1] {
      try await nodes[number].stop()
      nodes[number] = try await set.start(number)
    }
    nodes[2] = try await set.start(2)
    try await LeaderlessSet.settle(nodes, seconds: 60)
    let log = try await nodes[2].process.errors { $0.contains("took the snapshot of") }
    #expect(log.contains("is not in the log of"))
    for node in nodes {
      #expect(try LeaderlessSet.values("own", at: node) == ["unshipped"])
      #expect(try LeaderlessSet.values("k0", at: node) == [], "nothing that was deleted comes back")
      #expect(try LeaderlessSet.values("k1", at: node) == [long + "2"])
    }
    // What it has, it has after a kill as well.
    try await nodes[2].kill()
    nodes[2] = try await set.start(2)
    try await LeaderlessSet.settle(nodes)
    #expect(try ReplicaSet.status(nodes[2])["keys"] as? Int == 61)
    for node in nodes { try await node.stop() }
  }

  @Test("begins a new log where its directory was put back, or is at another address")
  func putBack() async throws {
    let directory = try TemporaryDirectory()
    let set = try LeaderlessSet(in: directory, nodes: 2)
    var nodes = try await set.start()
    try LeaderlessSet.put("a", "1", at: nodes[0])
    try await LeaderlessSet.settle(nodes)
    try await nodes[0].stop()
    let copy = directory.path("copy")
    try FileManager.default.copyItem(atPath: set.settings[0].data, toPath: copy)
    nodes[0] = try await set.start(0)
    try LeaderlessSet.put("b", "2", at: nodes[0])
    try await LeaderlessSet.settle(nodes)
    let before = try ReplicaSet.status(nodes[0])["origin"] as? String
    try await nodes[0].stop()
    try FileManager.default.removeItem(atPath: set.settings[0].data)
    try FileManager.default.moveItem(atPath: copy, toPath: set.settings[0].data)
    nodes[0] = try await set.start(0)
    #expect(try ReplicaSet.status(nodes[0])["origin"] as? String != before)
    try LeaderlessSet.put("c", "3", at: nodes[0])
    try await LeaderlessSet.settle(nodes)
    for node in nodes {
      for (key, value) in [("a", "1"), ("b", "2"), ("c", "3")] {
        #expect(try LeaderlessSet.values(key, at: node) == [value])
      }
    }
    for node in nodes { try await node.stop() }
    // The same directory as the other node's.
    var moved = set.settings[1]
    moved.data = set.settings[0].data
    let elsewhere = try await ServedNode.start(moved)
    _ = try await elsewhere.process.errors { $0.contains("this directory was at") }
    try await elsewhere.stop()
  }

  @Test(
    "takes no number twice where the directory of a killed node was put back, and it had gone on")
  func putBackKilled() async throws {
    let directory = try TemporaryDirectory()
    let set = try LeaderlessSet(in: directory, nodes: 3)
    var nodes = try await set.start()
    try LeaderlessSet.put("a", "1", at: nodes[0])
    try await LeaderlessSet.settle(nodes)
    try await nodes[0].kill()
    let copy = directory.path("copy")
    try FileManager.default.copyItem(atPath: set.settings[0].data, toPath: copy)
    nodes[0] = try await set.start(0)
    let before = try #require(try ReplicaSet.status(nodes[0])["origin"] as? String)
    for number in 0..<20 { try LeaderlessSet.put("b\(number)", "of before", at: nodes[0]) }
    try await LeaderlessSet.settle(nodes)
    try await nodes[0].kill()
    try FileManager.default.removeItem(atPath: set.settings[0].data)
    try FileManager.default.moveItem(atPath: copy, toPath: set.settings[0].data)
    nodes[0] = try await set.start(0)
    #expect(try ReplicaSet.status(nodes[0])["origin"] as? String != before)
    for number in 0..<20 { try LeaderlessSet.put("c\(number)", "of now", at: nodes[0]) }
    try await LeaderlessSet.settle(nodes)
    for node in nodes {
      #expect(try LeaderlessSet.values("a", at: node) == ["1"])
      for number in 0..<20 {
        #expect(try LeaderlessSet.values("b\(number)", at: node) == ["of before"])
        #expect(try LeaderlessSet.values("c\(number)", at: node) == ["of now"])
      }
    }
    for node in nodes { try await node.stop() }
    for number in 1..<3 {
      let outcome = try await Executable.dump.run(
        ["--diff", set.settings[number].data, set.settings[0].data, "--origin", before],
        in: directory)
      #expect(outcome.status == 0, "\(outcome.output)\(outcome.errors)")
    }
  }

  @Test("asks for what a context has seen: a write elsewhere waits its turn, a read waits")
  func contextsAhead() async throws {
    let directory = try TemporaryDirectory()
    let set = try LeaderlessSet(in: directory, nodes: 3)
    var nodes = try await set.start()
    try LeaderlessSet.put("k", "old", at: nodes[0])
    try await LeaderlessSet.settle(nodes)
    // The third node hears nothing of what comes now.
    try await nodes[2].stop()
    let written = try LeaderlessSet.put("k", "new", at: nodes[0])
    let context = try #require(written.headers["x-kv-context"])
    for number in 0..<2 { nodes[number].process.send(SIGSTOP) }
    nodes[2] = try await set.start(2)
    let refused = try LeaderlessSet.put("k", "mine", at: nodes[2], context: context)
    #expect(refused.status == 503 && refused.headers["retry-after"] != nil, "\(refused.text)")
    #expect(refused.text.contains("nothing was written"))
    let read = HTTPRequest(
      method: "GET", target: "/kv/k?timeout_ms=200&min_version=\(context)")
    #expect(try LeaderlessSet.send(read, to: nodes[2]).status == 503)
    #expect(try LeaderlessSet.values("k", at: nodes[2]) == ["old"])
    for number in 0..<2 { nodes[number].process.send(SIGCONT) }
    // Now it comes: with one node asked, and with several.
    for quorum in ["", "&r=2", "&r=3"] {
      let late = try LeaderlessSet.send(
        HTTPRequest(
          method: "GET", target: "/kv/k?timeout_ms=20000&min_version=\(context)\(quorum)"),
        to: nodes[2])
      #expect(late.status == 200 && late.text == "new", "\(quorum): \(late.status) \(late.text)")
    }
    let mine = try LeaderlessSet.put("k", "mine", at: nodes[2], context: context)
    #expect(mine.status == 200)
    try await LeaderlessSet.settle(nodes)
    for node in nodes { #expect(try LeaderlessSet.values("k", at: node) == ["mine"]) }
    for query in ["min_version=7", "min_version=x", "min_version="] {
      let answer = try LeaderlessSet.send(
        HTTPRequest(method: "GET", target: "/kv/k?\(query)"), to: nodes[0])
      #expect(answer.status == 400, "\(query): \(answer.status)")
    }
    for node in nodes { try await node.stop() }
  }

  @Test(
    "keeps its promises over links with latency: a write of all and a read of all take a round trip"
  )
  func latency() async throws {
    let directory = try TemporaryDirectory()
    let set = try LeaderlessSet(
      in: directory, nodes: 3, writeQuorum: 2, readQuorum: 2, flags: ["--peer-delay-ms", "40"])
    let nodes = try await set.start()
    try await ReplicaSet.awaitStreaming(nodes[0], count: 2)
    let last = nodes[2]
    try await LeaderlessSet.within("two nodes can be asked") {
      try LeaderlessSet.send(.get("none"), to: last).status == 404
    }
    let clock = ContinuousClock()
    var least = (write: Duration.seconds(60), read: Duration.seconds(60))
    for number in 0..<10 {
      var begin = clock.now
      #expect(try LeaderlessSet.put("k\(number)", "v", at: nodes[number % 2]).status == 201)
      let write = clock.now - begin
      begin = clock.now
      #expect(try LeaderlessSet.values("k\(number)", at: nodes[2]) == ["v"])
      let read = clock.now - begin
      #expect(write >= .milliseconds(80) && read >= .milliseconds(80), "\(write), \(read)")
      least = (min(least.write, write), min(least.read, read))
    }
    // One round trip, not two.
    #expect(least.write < .milliseconds(160) && least.read < .milliseconds(160), "\(least)")
    try await LeaderlessSet.settle(nodes)
    for node in nodes { try await node.stop() }
  }

  @Test("is of nodes that the environment names")
  func environment() async throws {
    let directory = try TemporaryDirectory()
    var settings = (0..<3).map { number in
      ServedNode.Settings(in: directory, data: directory.path("node-\(number)"))
    }
    for number in settings.indices {
      let others = settings.indices.filter { $0 != number }.map { "http://\(settings[$0].address)" }
      settings[number].environment = [
        "PEER_URLS": others.joined(separator: ","), "NODE_ID": "node-\(number)", "W": "3", "R": "1",
      ]
    }
    var nodes: [ServedNode] = []
    for one in settings { nodes.append(try await ServedNode.start(one)) }
    let first = nodes[0]
    try await ReplicaSet.awaitStreaming(first, count: 2)
    #expect(try LeaderlessSet.put("k", "v", at: first).status == 201)
    for node in nodes { #expect(try LeaderlessSet.values("k", at: node) == ["v"]) }
    let status = try ReplicaSet.status(first)
    #expect(status["role"] as? String == "leaderless" && status["name"] as? String == "node-0")
    for node in nodes { try await node.stop() }
  }

  @Test("lets values expire on every node, however few frames there are")
  func expiry() async throws {
    let directory = try TemporaryDirectory()
    let set = try LeaderlessSet(in: directory, nodes: 2)
    let nodes = try await set.start()
    try LeaderlessSet.put("t", "short", at: nodes[0], query: "?ttl=2")
    try LeaderlessSet.put("stays", "long", at: nodes[1])
    #expect(try LeaderlessSet.values("t", at: nodes[0]) == ["short"])
    try await LeaderlessSet.within("both keys are on both") {
      try nodes.allSatisfy { try ReplicaSet.status($0)["keys"] as? Int == 2 }
    }
    try await LeaderlessSet.within("the key is gone on both") {
      try nodes.allSatisfy { try ReplicaSet.status($0)["keys"] as? Int == 1 }
    }
    try await LeaderlessSet.settle(nodes)
    for node in nodes { #expect(try LeaderlessSet.values("t", at: node) == []) }
    for node in nodes { try await node.stop() }
  }

  @Test("refuses what needs a leader, and the directory of a shard that has one")
  func refusals() async throws {
    let directory = try TemporaryDirectory()
    let set = try LeaderlessSet(in: directory, nodes: 1)
    var node = try await set.start(0)
    try LeaderlessSet.put("k", "v", at: node)
    for target in ["/admin/promote", "/purge"] {
      let answer = try LeaderlessSet.send(HTTPRequest(method: "POST", target: target), to: node)
      #expect(answer.status == 409)
    }
    try await node.stop()
    var led = ServedNode.Settings(in: directory, data: set.settings[0].data)
    let refused = try ServedNode(led)
    let outcome = try await refused.process.outcome()
    #expect(outcome.status == 1 && outcome.errors.contains("holds a node of a leaderless shard"))
    for tool in [Executable.compact] {
      let outcome = try await tool.run(["--data-dir", set.settings[0].data], in: directory)
      #expect(outcome.status == 1 && outcome.errors.contains("leaderless"))
    }
    led.data = directory.path("led")
    let leader = try await ServedNode.start(led)
    try await leader.stop()
    var mixed = set.settings[0]
    mixed.data = led.data
    let other = try await ServedNode(mixed).process.outcome()
    #expect(other.status == 1 && other.errors.contains("this one is leaderless"))
    node = try await set.start(0)
    #expect(try LeaderlessSet.values("k", at: node) == ["v"])
    try await node.stop()
  }
}
