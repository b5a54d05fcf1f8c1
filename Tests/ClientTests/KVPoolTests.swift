import Client
import NIOCore
import NIOHTTP1
import NIOPosix
import Testing

@Suite("A pool of connections", .timeLimit(.minutes(1)))
struct KVPoolTests {
  private let get = KVRequest(.GET, "/kv/a")
  private let put = KVRequest(.PUT, "/kv/a", body: ByteBuffer(string: "value"))

  @Test("uses a kept-open connection again, from whichever event loop")
  func reusesConnections() async throws {
    try await withServer({ _ in [.answer()] }) { server, pool in
      let group = MultiThreadedEventLoopGroup.singleton
      for _ in 0..<10 {
        let loop = group.next()
        let answer = pool.execute(put, on: server.address, deadline: .soon, eventLoop: loop)
        #expect(answer.eventLoop === loop)
        try await expect(answer, toGiveStatus: 200)
      }
      #expect(server.connectionCount == 1)
      #expect(pool.openConnections == 1)
    }
  }

  @Test("opens no more connections than allowed, and serves who waits in order")
  func boundsConnections() async throws {
    let limits = KVLimits(connectionsPerNodeMax: 2)
    try await withServer(limits: limits, { _ in [.hold, .answer()] }) { server, pool in
      let answers = (0..<9).map { number in
        pool.execute(KVRequest(.GET, "/\(number)"), on: server.address, deadline: .soon)
      }
      for underWay in [2, 2, 2, 2, 1] {
        try await server.release(underWay)
        #expect(pool.openConnections == 2)
      }
      for answer in answers {
        let answer = try await answer.get()
        #expect(answer.status == 200)
      }
      #expect(server.connectionCount == 2)
      // The two that are released together may arrive in either order.
      let order = server.arrivals.map { $0.text.split(separator: " ")[1] }
      for (place, target) in order.enumerated() {
        #expect(abs(Int(target.dropFirst())! - place) <= 1)
      }
    }
  }

  @Test("lets no more requests wait than allowed")
  func boundsWaiting() async throws {
    let limits = KVLimits(connectionsPerNodeMax: 1, waitingPerNodeMax: 2)
    try await withServer(limits: limits, { _ in [.hold, .answer()] }) { server, pool in
      let answers = (0..<3).map { _ in pool.execute(put, on: server.address, deadline: .soon) }
      let refused = pool.execute(put, on: server.address, deadline: .soon)
      try await expect(refused, toFailWith: .neverSent(server.address, .tooManyWaiting(max: 2)))
      for _ in 0..<3 { try await server.release(1) }
      for answer in answers {
        let answer = try await answer.get()
        #expect(answer.status == 200)
      }
    }
  }

  @Test("keeps nodes apart: one that is slow does not hold up another")
  func keepsNodesApart() async throws {
    let limits = KVLimits(connectionsPerNodeMax: 1, waitingPerNodeMax: 0)
    try await withServer(limits: limits, { _ in [.hold, .answer("slow")] }) { slow, pool in
      let fast = try await ScriptedServer { _ in [.answer("fast")] }
      let held = pool.execute(get, on: slow.address, deadline: .soon)
      for _ in 0..<3 {
        let answer = try await pool.execute(get, on: fast.address, deadline: .soon).get()
        #expect(answer.text == "fast")
      }
      try await slow.release(1)
      try await expect(held, toGiveText: "slow")
      try await fast.close()
    }
  }

  @Test("does not send what waited past its deadline")
  func keepsTheDeadlineOfWaiting() async throws {
    let limits = KVLimits(connectionsPerNodeMax: 1)
    try await withServer(limits: limits, { _ in [.hold, .answer()] }) { server, pool in
      let first = pool.execute(get, on: server.address, deadline: .soon)
      try await eventually("the request arrives") { server.arrivals.count == 1 }
      let late = pool.execute(
        put, on: server.address, deadline: .now() + .milliseconds(20))
      try await expect(late, toFailWith: .neverSent(server.address, .timedOut(.freeConnection)))
      server.release()
      try await expect(first, toGiveStatus: 200)
      #expect(server.arrivals.count == 1)
    }
  }

  @Test("gives the place of a request that timed out to the next one")
  func replacesConnections() async throws {
    let limits = KVLimits(connectionsPerNodeMax: 1)
    let script: ScriptedServer.Script = { arrival in
      arrival.connection == 0 && arrival.request == 1 ? [] : [.answer()]
    }
    try await withServer(limits: limits, script) { server, pool in
      let loop = MultiThreadedEventLoopGroup.singleton.next()
      let answer = pool.execute(put, on: server.address, deadline: .soon, eventLoop: loop)
      try await expect(answer, toGiveStatus: 200)
      // On its event loop, so that the time does not run out before it is sent.
      let first = loop.flatSubmit {
        pool.execute(put, on: server.address, deadline: .now() + .milliseconds(50))
      }
      try await eventually("it arrives") { server.arrivals.count == 2 }
      let second = pool.execute(put, on: server.address, deadline: .soon)
      try await expect(first, toFailWith: .outcomeUnknown(server.address, .timedOut(.answer), .PUT))
      try await expect(second, toGiveStatus: 200)
      #expect(server.connectionCount == 2)
    }
  }

  @Test("fails each request to a node that is down, as never sent")
  func failsAllWhenRefused() async throws {
    let limits = KVLimits(connectionsPerNodeMax: 2)
    try await withServer(limits: limits, { _ in [] }) { server, pool in
      try await withRefusingPort(of: server) { port in
        let address = NodeAddress(host: "127.0.0.1", port: port)
        let answers = (0..<500).map { _ in pool.execute(put, on: address, deadline: .soon) }
        for answer in answers {
          try await expect(answer, toFailWith: .neverSent(address, .connectionRefused))
        }
        #expect(pool.openConnections == 0)
      }
    }
  }

  // MARK: - Connections that the node closed

  @Test("makes a new connection after the node closed the kept-open one", arguments: [true, false])
  func noticesClosing(isRead: Bool) async throws {
    try await withServer({ _ in [.answer()] }) { server, pool in
      let request = isRead ? get : put
      _ = try await pool.execute(request, on: server.address, deadline: .soon).get()
      try await server.closeConnections()
      try await eventually("it is noticed") { pool.openConnections == 0 }
      let answer = try await pool.execute(request, on: server.address, deadline: .soon).get()
      #expect(answer.status == 200)
      #expect(server.arrivals.map(\.connection) == [0, 1])
    }
  }

  /// What a client sees whose request crosses the node's closing: sent, and no answer.
  private let closesOnSecondRequest: ScriptedServer.Script = { arrival in
    arrival.connection == 0 && arrival.request == 1 ? [.close] : [.answer("\(arrival.connection)")]
  }

  @Test("repeats a read on a new connection when the kept-open one turns out to be closed")
  func repeatsReads() async throws {
    try await withServer(closesOnSecondRequest) { server, pool in
      for number in ["0", "1", "1"] {
        let answer = try await pool.execute(get, on: server.address, deadline: .soon).get()
        #expect(answer.text == number)
      }
      #expect(server.arrivals.map(\.connection) == [0, 0, 1, 1])
    }
  }

  @Test("never repeats a write whose bytes may have been sent")
  func neverRepeatsWrites() async throws {
    try await withServer(closesOnSecondRequest) { server, pool in
      _ = try await pool.execute(put, on: server.address, deadline: .soon).get()
      try await expect(
        pool.execute(put, on: server.address, deadline: .soon),
        toFailWith: .outcomeUnknown(server.address, .connectionClosed, .PUT))
      #expect(server.arrivals.count == 2)
      try await expect(pool.execute(put, on: server.address, deadline: .soon), toGiveText: "1")
    }
  }

  @Test("repeats a write that is said to be idempotent")
  func repeatsIdempotentWrites() async throws {
    try await withServer(closesOnSecondRequest) { server, pool in
      var request = put
      request.isIdempotent = true
      _ = try await pool.execute(request, on: server.address, deadline: .soon).get()
      let answer = try await pool.execute(request, on: server.address, deadline: .soon).get()
      #expect(answer.text == "1")
    }
  }

  @Test("repeats once, and only on a new connection")
  func repeatsOnce() async throws {
    let script: ScriptedServer.Script = { arrival in
      arrival.connection < 2 && arrival.request == 0 ? [.hold, .answer()] : [.close]
    }
    try await withServer(script) { server, pool in
      // Two kept-open connections, both of which will turn out to be closed.
      let answers = (0..<2).map { _ in pool.execute(get, on: server.address, deadline: .soon) }
      try await server.release(2)
      for answer in answers { _ = try await answer.get() }
      try await expect(
        pool.execute(get, on: server.address, deadline: .soon),
        toFailWith: .outcomeUnknown(server.address, .connectionClosed, .GET))
      #expect(server.arrivals.count == 4)
      #expect(server.arrivals.last?.connection == 2)
    }
  }

  @Test("does not repeat a read whose answer had begun, on however few bytes")
  func doesNotRepeatBegunAnswers() async throws {
    let script: ScriptedServer.Script = { arrival in
      arrival.request == 0 ? [.answer()] : [.send("H"), .close]
    }
    try await withServer(script) { server, pool in
      _ = try await pool.execute(get, on: server.address, deadline: .soon).get()
      try await expect(
        pool.execute(get, on: server.address, deadline: .soon),
        toFailWith: .outcomeUnknown(server.address, .connectionClosed, .GET))
      #expect(server.arrivals.count == 2)
    }
  }

  @Test("does not repeat on a connection that was new")
  func doesNotRepeatOnNewConnections() async throws {
    try await withServer({ _ in [.close] }) { server, pool in
      try await expect(
        pool.execute(get, on: server.address, deadline: .soon),
        toFailWith: .outcomeUnknown(server.address, .connectionClosed, .GET))
      #expect(server.arrivals.count == 1)
    }
  }

  // MARK: - Ends

  @Test("closes connections that are not used for long")
  func closesIdleConnections() async throws {
    let limits = KVLimits(idleTimeout: .milliseconds(20))
    try await withServer(limits: limits, { _ in [.answer()] }) { server, pool in
      for used in 1...2 {
        _ = try await pool.execute(get, on: server.address, deadline: .soon).get()
        #expect(server.connectionCount == used)
        try await eventually("it is closed") { pool.openConnections == 0 }
      }
    }
  }

  @Test("lets requests under way end when it is closed, fails those that wait, and takes no more")
  func closes() async throws {
    let limits = KVLimits(connectionsPerNodeMax: 1)
    try await withServer(limits: limits, { _ in [.hold, .answer()] }) { server, pool in
      let underWay = pool.execute(put, on: server.address, deadline: .soon)
      let waiting = pool.execute(put, on: server.address, deadline: .soon)
      try await eventually("the request arrives") { server.arrivals.count == 1 }
      let closed = pool.close()
      try await expect(waiting, toFailWith: .neverSent(server.address, .poolClosed))
      let late = pool.execute(put, on: server.address, deadline: .soon)
      try await expect(late, toFailWith: .neverSent(server.address, .poolClosed))
      #expect(pool.openConnections == 1)
      try await server.release(1)
      try await expect(underWay, toGiveStatus: 200)
      try await closed.get()
      #expect(pool.openConnections == 0)
    }
  }

  @Test("is closed at once when it was not used")
  func closesUnused() async throws {
    let pool = KVPool()
    try await pool.close().get()
    try await pool.close().get()
  }

  @Test("ends every one of many requests, whatever the node does")
  func endsEveryRequest() async throws {
    let script: ScriptedServer.Script = { arrival in
      switch (arrival.connection &* 31 &+ arrival.request &* 7) % 11 {
      case 0: [.close]
      case 1: [.send("HTTP/1.1 200 O"), .close]
      case 2: [.send("nonsense\r\n\r\n")]
      case 3: []
      case 4: [.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), .close]
      case 5: [.answer(), .close]
      default: [.answer("\(arrival.request)")]
      }
    }
    let limits = KVLimits(connectionsPerNodeMax: 8, waitingPerNodeMax: 100)
    try await withServer(limits: limits, script) { server, pool in
      let deadline = NIODeadline.now() + .milliseconds(300)
      let answers = (0..<400).map { number in
        pool.execute(
          number % 2 == 0 ? get : put, on: server.address, deadline: deadline,
          eventLoop: MultiThreadedEventLoopGroup.singleton.next())
      }
      var counts = (answered: 0, unsent: 0, unknown: 0)
      for answer in answers {
        do {
          try await expect(answer, toGiveStatus: 200)
          counts.answered += 1
        } catch {
          let error = try #require(error as? KVClientError)
          if error.mayHaveBeenSent { counts.unknown += 1 } else { counts.unsent += 1 }
        }
      }
      #expect(counts.answered > 0)
      #expect(counts.answered + counts.unsent + counts.unknown == 400)
    }
  }
}
