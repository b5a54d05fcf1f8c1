import Server
import Sharding
import Synchronization
import Testing

/// Of two shards, the node is of the first: see `TwoShards`.
@Suite("A request for another shard", .serialized) struct ShardRouteTests {
  private static let requests: [(method: String, target: String, body: String)] = [
    ("GET", "/get?key=adverb", ""), ("GET", "/kv/adverb", ""), ("GET", "/get/adverb", ""),
    ("GET", "/kv/adverb?min_version=4", ""), ("GET", "/kv/%61dverb", ""),
    ("PUT", "/kv/adverb", "a value"), ("PUT", "/kv/adverb?ttl=60", "a value"),
    ("DELETE", "/kv/adverb", ""), ("GET", "/set?key=adverb&value=b%20c", ""),
    ("POST", "/set", "key=adverb&value=posted"),
    ("POST", "/set", #"{"key":"adverb","value":"json"}"#),
    ("POST", "/delete", "key=adverb"), ("GET", "/delete?key=adverb", ""),
    ("PUT", "/kv/adverb?w=1", "a value"),
    ("POST", "/batch", #"{"op":"put","key":"adverb","value":"b"}"#),
  ]

  @Test("is handed on as it came, by every route", arguments: ConfiguredLane.allCases)
  func handedOn(lane: ConfiguredLane) async throws {
    try await FakeMember.with({ request in
      FakeMember.Answer(
        status: 207, headers: [("ETag", "\"9.9\""), ("X-KV-Node", "b:1"), ("Keep-Alive", "x")],
        body: "their \(request.body)")
    }) { member in
      try await TwoShards.with(lane, leader: member.address) { node in
        for (number, request) in Self.requests.enumerated() {
          let answer = try await node.ask(
            request.method, request.target, ["X-Own: 1"], body: request.body)
          #expect(answer.status == 207 && answer.text == "their \(request.body)", "\(request)")
          #expect(answer["etag"] == "\"9.9\"" && answer["x-kv-node"] == "b:1", "\(request)")
          #expect(answer["x-kv-forwarded-by"] == node.address, "\(request)")
          let taken = try #require(member.requests.dropFirst(number).first)
          #expect(taken.head.uri == request.target && taken.body == request.body)
          #expect(taken.head.method.rawValue == request.method)
          #expect(taken.head.headers["X-Own"] == ["1"])
          #expect(taken.head.headers["X-KV-Forwarded-By"] == [node.address])
          let isRead =
            request.method == "GET" && !request.target.hasPrefix("/set")
            && !request.target.hasPrefix("/delete")
          #expect(taken.head.headers["X-KV-Read-From"] == (isRead ? ["leader"] : []))
        }
        let head = try await node.ask("HEAD", "/kv/adverb")
        #expect(head.status == 207 && head.text == "")
        #expect(member.requests.last?.head.method == .HEAD)
        try await #expect(node.ask("GET", "/local_read/adverb").status == 404)
        #expect(member.requests.count == Self.requests.count + 1)
      }
    }
  }

  @Test("is not one for a key of this shard", arguments: ConfiguredLane.allCases)
  func own(lane: ConfiguredLane) async throws {
    try await TwoShards.with(lane, leader: TwoShards.nobody) { node in
      try await #expect(node.ask("PUT", "/kv/adjective", body: "v").status == 201)
      let read = try await node.ask("GET", "/get?key=adjective")
      #expect(read.status == 200 && read["x-kv-forwarded-by"] == nil)
      let batch = #"{"op":"put","key":"adjective","value":"w"}"#
      try await #expect(node.ask("POST", "/batch", body: batch).status == 200)
      let mixed = batch + "\n" + #"{"op":"put","key":"adverb","value":"w"}"#
      let refused = try await node.ask("POST", "/batch", body: mixed)
      #expect(refused.status == 400 && refused.text.contains("line 2: the key belongs to shard 1"))
      try await #expect(node.ask("GET", "/kv/adjective").text == "w")
    }
  }

  @Test("is redirected where clients are to go themselves", arguments: ConfiguredLane.allCases)
  func redirected(lane: ConfiguredLane) async throws {
    try await TwoShards.with(
      lane, leader: "127.0.0.1:2", replicas: ["127.0.0.1:3"], { $0.routing = .redirect }
    ) { node in
      for request in Self.requests {
        let answer = try await node.ask(request.method, request.target, body: request.body)
        #expect(answer.status == 307, "\(request)")
        #expect(answer["location"] == "http://127.0.0.1:2\(request.target)", "\(request)")
      }
      try await #expect(node.ask("GET", "/kv/adjective").status == 404)
    }
    try await TwoShards.with(
      lane, leader: "127.0.0.1:2", replicas: ["127.0.0.1:3"],
      {
        $0.routing = .redirect
        $0.readFrom = .replicas
      }
    ) { node in
      let read = try await node.ask("GET", "/kv/adverb")
      #expect(read["location"] == "http://127.0.0.1:3/kv/adverb")
      let write = try await node.ask("PUT", "/kv/adverb", body: "v")
      #expect(write["location"] == "http://127.0.0.1:2/kv/adverb")
    }
  }

  @Test(
    "to nobody is answered 502, which names whom and says that nothing was done",
    arguments: ConfiguredLane.allCases)
  func nobodyThere(lane: ConfiguredLane) async throws {
    try await TwoShards.with(lane, leader: TwoShards.nobody) { node in
      for request in Self.requests {
        let answer = try await node.ask(request.method, request.target, body: request.body)
        #expect(answer.status == 502, "\(request)")
        #expect(answer.text.contains("\(TwoShards.nobody) cannot be reached: nothing was done"))
      }
    }
  }

  @Test(
    "goes to whoever leads, where the one that was asked does not",
    arguments: ConfiguredLane.allCases, [true, false])
  func newLeader(lane: ConfiguredLane, isTold: Bool) async throws {
    let hint = Mutex("")
    try await FakeMember.with({ request in
      if request.head.uri == "/status" { return TwoShards.status("replica") }
      let headers = isTold ? [("X-KV-Leader", hint.withLock { $0 })] : []
      return FakeMember.Answer(
        status: request.head.method == .GET ? 421 : 403, headers: headers, body: "no")
    }) { former in
      try await FakeMember.with({ request in
        request.head.uri == "/status"
          ? TwoShards.status("leader", epoch: 2) : FakeMember.Answer(body: "new")
      }) { leader in
        hint.withLock { $0 = leader.address }
        try await TwoShards.with(lane, leader: former.address, replicas: [leader.address]) { node in
          for (method, target) in [("PUT", "/kv/adverb"), ("GET", "/kv/adverb")] {
            let answer = try await node.ask(method, target)
            #expect(answer.status == 200 && answer.text == "new", "\(method)")
          }
          // It is remembered.
          #expect(former.requests.count == 1)
        }
      }
    }
  }

  @Test(
    "that got no answer is asked again if it is a read, and unknown if it is a write",
    arguments: ConfiguredLane.allCases)
  func lostAnswer(lane: ConfiguredLane) async throws {
    try await RawPeer.with({ _, head in
      head.hasPrefix("GET /status") ? .bytes("HTTP/1.1 404 N\r\nContent-Length: 0\r\n\r\n") : .close
    }) { former in
      try await FakeMember.with({ request in
        request.head.uri == "/status"
          ? TwoShards.status("leader", epoch: 2) : FakeMember.Answer(body: "new")
      }) { leader in
        try await TwoShards.with(lane, leader: former.address, replicas: [leader.address]) { node in
          let write = try await node.ask("GET", "/set?key=adverb&value=v")
          #expect(write.status == 502 && write.text.contains("outcome unknown"), "\(write.text)")
          #expect(write.text.contains(former.address))
          let read = try await node.ask("GET", "/kv/adverb")
          #expect(read.status == 200 && read.text == "new", "\(read.text)")
        }
      }
    }
  }

  private static let garbageAnswers = [
    "nonsense\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\nx",
    "\u{0}\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}\u{0}\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}\u{8}",
    "HTTP/1.1 200 OK\r\nX: " + String(repeating: "x", count: 300_000),
  ]

  @Test(
    "with an answer that is none is answered 502, and the next one is well",
    arguments: ConfiguredLane.allCases, garbageAnswers)
  func garbage(lane: ConfiguredLane, text: String) async throws {
    let isMended = Mutex(false)
    try await RawPeer.with({ _, head in
      if head.hasPrefix("GET /status") { return .close }
      return .bytes(
        isMended.withLock { $0 } ? "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" : text)
    }) { peer in
      try await TwoShards.with(lane, leader: peer.address) { node in
        let client = try node.connect()
        for (method, target) in [("GET", "/kv/adverb"), ("PUT", "/kv/adverb")] {
          let answer = try await client.ask(method, target)
          #expect(answer.status == 502 && answer.text.contains(peer.address), "\(answer.text)")
        }
        isMended.withLock { $0 = true }
        try await #expect(client.ask("GET", "/kv/adverb").text == "ok")
        try await #expect(client.ask("PUT", "/kv/adverb").text == "ok")
      }
    }
  }

  @Test("that has come through three nodes ends, 508", arguments: ConfiguredLane.allCases)
  func circle(lane: ConfiguredLane) async throws {
    try await FakeMember.with({ _ in FakeMember.Answer(body: "theirs") }) { member in
      try await TwoShards.with(lane, leader: member.address) { node in
        for hops in [
          ["X-KV-Forwarded-By: a:1, b:2", "x-kv-forwarded-by: c:3"],
          ["X-KV-Forwarded-By: a:1", "X-KV-Forwarded-By: b:1", "X-KV-Forwarded-By: c:1"],
        ] {
          try await #expect(node.ask("GET", "/kv/adverb", hops).status == 508)
          try await #expect(node.ask("PUT", "/kv/adverb", hops, body: "v").status == 508)
          // A key of its own is no reason to ask anybody.
          try await #expect(node.ask("PUT", "/kv/adjective", hops, body: "v").status < 300)
        }
        let two = ["X-KV-Forwarded-By: a:1, b:2"]
        try await #expect(node.ask("GET", "/kv/adverb", two).text == "theirs")
        #expect(member.requests.count == 1)
      }
    }
  }

  @Test(
    "is answered in the order of the requests of its connection",
    arguments: ConfiguredLane.allCases)
  func order(lane: ConfiguredLane) async throws {
    try await FakeMember.with({ request in
      FakeMember.Answer(body: "theirs of \(request.head.uri)")
    }) { member in
      try await TwoShards.with(lane, leader: member.address) { node in
        try await #expect(node.ask("PUT", "/kv/adjective", body: "mine").status == 201)
        let client = try node.connect()
        var text = ""
        var expected: [String] = []
        var numbers = SystemRandomNumberGenerator()
        for _ in 0..<300 {
          switch Int.random(in: 0..<4, using: &numbers) {
          case 0:
            text += "GET /kv/adjective HTTP/1.1\r\nHost: x\r\n\r\n"
            expected.append("mine")
          case 1:
            text += "GET /kv/adverb HTTP/1.1\r\nHost: x\r\n\r\n"
            expected.append("theirs of /kv/adverb")
          case 2:
            text += "PUT /kv/adverb HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
            expected.append("theirs of /kv/adverb")
          default:
            text += "GET /get?key=watermelon HTTP/1.1\r\nHost: x\r\n\r\n"
            expected.append("theirs of /get?key=watermelon")
          }
        }
        try client.send(text)
        for answer in expected { try await #expect(client.answer().text == answer) }
      }
    }
  }

  @Test("has values of any size, in both directions", arguments: ConfiguredLane.allCases)
  func large(lane: ConfiguredLane) async throws {
    try await FakeMember.with({ FakeMember.Answer(body: $0.body + "!") }) { member in
      try await TwoShards.with(lane, leader: member.address) { node in
        let client = try node.connect()
        for size in [0, 1, 1_000, 70_000, 300_000, 5_000_000] {
          let value = String(repeating: "v", count: size)
          try await #expect(
            client.ask("PUT", "/kv/adverb", body: value).text == value + "!", "\(size)")
          try await #expect(client.ask("GET", "/kv/adverb").text == "!")
        }
      }
    }
    let value = String(repeating: "v", count: 3_000_000)
    try await FakeMember.with({ _ in FakeMember.Answer(body: value) }) { member in
      try await TwoShards.with(lane, leader: member.address) { node in
        let client = try node.connect()
        for _ in 0..<3 { try await #expect(client.ask("GET", "/kv/adverb").text == value) }
      }
    }
  }

  @Test(
    "is read from a replica where that is asked for, and from the leader where there is none",
    arguments: ConfiguredLane.allCases, [ReadSource.replicas, .any])
  func replicas(lane: ConfiguredLane, source: ReadSource) async throws {
    let isUp = Mutex(true)
    try await FakeMember.with({ request in
      request.head.uri == "/status" ? TwoShards.status("leader") : FakeMember.Answer(body: "leader")
    }) { leader in
      try await FakeMember.with({ request in
        if request.head.uri == "/status" { return TwoShards.status("replica") }
        return FakeMember.Answer(body: "replica", isMissing: !isUp.withLock { $0 })
      }) { replica in
        try await TwoShards.with(
          lane, leader: leader.address, replicas: [replica.address], { $0.readFrom = source }
        ) { node in
          var found: Set<String> = []
          for _ in 0..<8 { found.insert(try await node.ask("GET", "/kv/adverb").text) }
          #expect(found == (source == .any ? ["leader", "replica"] : ["replica"]))
          try await #expect(node.ask("PUT", "/kv/adverb", body: "v").text == "leader")
          isUp.withLock { $0 = false }
          for _ in 0..<8 { try await #expect(node.ask("GET", "/kv/adverb").text == "leader") }
          for request in replica.requests {
            #expect(request.head.headers["X-KV-Read-From"].isEmpty)
          }
        }
      }
    }
  }

  @Test(
    "that a silent node does not answer is answered by whoever leads instead of it, if it reads",
    arguments: ConfiguredLane.allCases)
  func silent(lane: ConfiguredLane) async throws {
    try await RawPeer.with({ _, _ in .silence }) { former in
      try await FakeMember.with({ request in
        request.head.uri == "/status"
          ? TwoShards.status("leader", epoch: 2) : FakeMember.Answer(body: "new")
      }) { leader in
        try await TwoShards.with(
          lane, leader: former.address, replicas: [leader.address],
          {
            $0.limits.leaderSearchMilliseconds = 1_000
            $0.limits.silenceMilliseconds = 1_000
          }
        ) { node in
          try await #expect(node.ask("GET", "/kv/adverb").text == "new")
          try await #expect(node.ask("PUT", "/kv/adverb", body: "v").text == "new")
        }
      }
    }
  }

  @Test(
    "that allows itself more time than there is, is answered", arguments: ConfiguredLane.allCases)
  func endlessTime(lane: ConfiguredLane) async throws {
    try await FakeMember.with({ _ in FakeMember.Answer(body: "theirs") }) { member in
      try await TwoShards.with(lane, leader: member.address) { node in
        for time in ["18446744073709551615", "9223372036854775807", "10000000000000"] {
          for (method, key) in [("GET", "adverb"), ("PUT", "adverb")] {
            let answer = try await node.ask(method, "/kv/\(key)?timeout_ms=\(time)")
            #expect(answer.text == "theirs")
          }
          try await #expect(node.ask("PUT", "/kv/adjective?timeout_ms=\(time)").status == 400)
        }
      }
    }
  }

  @Test(
    "to where no connection can even be begun is answered 502",
    arguments: ConfiguredLane.allCases)
  func noRoute(lane: ConfiguredLane) async throws {
    try await TwoShards.with(lane, leader: "224.0.0.1:8080") { node in
      let client = try node.connect()
      for method in ["GET", "PUT", "GET"] {
        let answer = try await client.ask(method, "/kv/adverb")
        #expect(answer.status == 502 && answer.text.contains("224.0.0.1:8080"), "\(answer.text)")
      }
    }
  }

  @Test("that stands behind one that ended its connection's use is not forgotten")
  func behindRetired() async throws {
    try await RawPeer.with({ number, head in
      if head.hasPrefix("GET /status") { return .close }
      // Both are there, the second one stays without an answer.
      return number == 0
        ? .silence : .bytes("HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nbad")
    }) { peer in
      try await TwoShards.with(.fast, leader: peer.address, { $0.limits.waitMilliseconds = 0 }) {
        node in
        let client = try node.connect()
        try client.send("GET", "/kv/adverb")
        try client.send("GET", "/kv/watermelon")
        try await #expect(client.answer().status == 400)
        try await #expect(client.answer().status == 502)
      }
    }
  }

  @Test("that stands behind one after which its node closes is asked again, if it writes, too")
  func behindLast() async throws {
    let (asked, isAsked) = AsyncStream<Void>.makeStream()
    try await RawPeer.with({ number, head in
      if head.hasPrefix("GET /status") {
        let status = TwoShards.status("leader").body
        return .bytes("HTTP/1.1 200 OK\r\nContent-Length: \(status.utf8.count)\r\n\r\n\(status)")
      }
      if head.contains("adverb") {
        isAsked.yield()
        return .silence
      }
      return number == 0
        ? .bytes("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        : .bytes("HTTP/1.1 400 B\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbad")
    }) { peer in
      try await TwoShards.with(
        .fast, leader: peer.address, { $0.limits.relayStallMilliseconds = 60_000 }
      ) { node in
        let (first, second) = (try node.connect(), try node.connect())
        try first.send("PUT", "/kv/adverb")
        for await _ in asked { break }
        try second.send("PUT", "/kv/watermelon")
        let answers = try await [first.answer(), second.answer()]
        #expect(answers.map(\.status) == [400, 200], "\(answers.map(\.text))")
      }
    }
  }

  @Test(
    "is redirected to a leader that was promoted, once that was looked at",
    arguments: ConfiguredLane.allCases)
  func redirectedAnew(lane: ConfiguredLane) async throws {
    try await FakeMember.with({ _ in TwoShards.status("replica") }) { former in
      try await FakeMember.with({ _ in TwoShards.status("leader", epoch: 2) }) { leader in
        try await TwoShards.with(
          lane, leader: former.address, replicas: [leader.address], { $0.routing = .redirect }
        ) { node in
          let wanted = "http://\(leader.address)/kv/adverb"
          var found: String?
          for _ in 0..<100 where found != wanted {
            found = try await node.ask("GET", "/kv/adverb")["location"]
            try await Task.sleep(for: .milliseconds(20))
          }
          #expect(found == wanted)
        }
      }
    }
  }

  @Test("that another node redirects goes to whoever leads", arguments: ConfiguredLane.allCases)
  func redirectingPeer(lane: ConfiguredLane) async throws {
    try await FakeMember.with({ request in
      request.head.uri == "/status"
        ? TwoShards.status("replica")
        : FakeMember.Answer(status: 307, headers: [("Location", "http://127.0.0.1:1/")])
    }) { former in
      try await FakeMember.with({ request in
        request.head.uri == "/status"
          ? TwoShards.status("leader", epoch: 2) : FakeMember.Answer(body: "new")
      }) { leader in
        try await TwoShards.with(lane, leader: former.address, replicas: [leader.address]) { node in
          try await #expect(node.ask("PUT", "/kv/adverb").text == "new")
          try await #expect(node.ask("GET", "/kv/adverb").text == "new")
        }
      }
    }
  }

  @Test(
    "of a node that divides the keys otherwise is refused, and nothing is done",
    arguments: ConfiguredLane.allCases)
  func otherDivision(lane: ConfiguredLane) async throws {
    try await TwoShards.with(lane, leader: TwoShards.nobody) { node in
      for told in ["4 fnv1-64", "2 fnv1-64-mix", "2"] {
        for method in ["PUT", "GET"] {
          let answer = try await node.ask(
            method, "/kv/adjective", ["X-KV-Shards: \(told)", "X-KV-Forwarded-By: a:1"])
          #expect(answer.status == 409 && answer.text.contains("a:1 divides the keys by \(told)"))
        }
      }
      try await #expect(node.ask("GET", "/kv/adjective").status == 404)
      let same = ["X-KV-Shards: 2 fnv1-64"]
      try await #expect(node.ask("PUT", "/kv/adjective", same, body: "v").status == 201)
      try await #expect(node.ask("GET", "/kv/adjective", same).text == "v")
    }
  }

  @Test("with an answer above all bounds that has to be kept is 502, and the next one is well")
  func tooLarge() async throws {
    let size = Mutex(33 << 20)
    try await FakeMember.with({ request in
      request.head.uri == "/status"
        ? TwoShards.status("leader")
        : FakeMember.Answer(body: String(repeating: "v", count: size.withLock { $0 }))
    }) { member in
      try await TwoShards.with(.fast, leader: member.address) { node in
        let client = try node.connect()
        // Nothing is kept of the answer to a request that has none behind it.
        try client.send("GET", "/kv/adverb")
        try await #expect(client.answer().body.count == 33 << 20)
        let pair = try node.connect()
        try pair.send(
          ["GET", "HEAD"].map { "\($0) /kv/adverb HTTP/1.1\r\nHost: x\r\n\r\n" }.joined())
        try await #expect(pair.answer().status == 502)
        _ = try await pair.answer(toHead: true)
        size.withLock { $0 = 3 }
        try await #expect(client.ask("GET", "/kv/adverb").text == "vvv")
      }
    }
  }

  @Test(
    "that a silent replica does not answer is answered by the leader",
    arguments: ConfiguredLane.allCases)
  func silentReplica(lane: ConfiguredLane) async throws {
    try await RawPeer.with({ _, _ in .silence }) { replica in
      try await FakeMember.with({ request in
        request.head.uri == "/status"
          ? TwoShards.status("leader") : FakeMember.Answer(body: "leader")
      }) { leader in
        try await TwoShards.with(
          lane, leader: leader.address, replicas: [replica.address],
          {
            $0.readFrom = .replicas
            $0.limits.silenceMilliseconds = 1_000
          }
        ) { node in
          try await #expect(node.ask("GET", "/kv/adverb").text == "leader")
        }
      }
    }
  }

  @Test("that is in progress is answered before the node ends", arguments: ConfiguredLane.allCases)
  func stopping(lane: ConfiguredLane) async throws {
    let (asked, isAsked) = AsyncStream<Void>.makeStream()
    let (released, release) = AsyncStream<Void>.makeStream()
    try await FakeMember.with({ _ in
      isAsked.yield()
      for await _ in released { break }
      return FakeMember.Answer(body: "late")
    }) { member in
      let node = try await RunningNode.start(lane) {
        $0.map = try! TwoShards.map(leader: member.address)
        $0.shardCount = 2
      }
      let client = try node.connect()
      try client.send("GET", "/kv/adverb")
      for await _ in asked { break }
      async let stopped: Void = node.stop()
      try await Task.sleep(for: .milliseconds(50))
      release.yield()
      try await #expect(client.answer().text == "late")
      try await #expect(client.isEnded())
      try await stopped
    }
  }
}
