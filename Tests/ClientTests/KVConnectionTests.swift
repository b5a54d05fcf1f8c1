import Client
import NIOCore
import NIOHTTP1
import NIOPosix
import Testing

@Suite("A connection", .timeLimit(.minutes(1)))
struct KVConnectionTests {
  private let get = KVRequest(.GET, "/kv/a")
  private let put = KVRequest(.PUT, "/kv/a", body: ByteBuffer(string: "value"))

  @Test("takes one request after the other")
  func staysOpen() async throws {
    try await withConnection({ [.answer("\($0.request)")] }) { server, connection in
      for number in 0..<5 {
        let answer = try await connection.execute(get, deadline: .soon).get()
        #expect(answer.status == 200)
        #expect(answer.text == "\(number)")
      }
      #expect(server.connectionCount == 1)
    }
  }

  @Test("takes one request at a time")
  func isExclusive() async throws {
    try await withConnection({ _ in [.hold, .answer()] }) { server, connection in
      let first = connection.execute(get, deadline: .soon)
      let second = connection.execute(get, deadline: .soon)
      try await expect(second, toFailWith: .neverSent(server.address, .connectionInUse))
      try await server.release(1)
      try await expect(first, toGiveStatus: 200)
    }
  }

  @Test("finds an answer's headers in whatever case")
  func findsHeaders() async throws {
    let headers = ["x-kv-VERSION: 18446744073709551615", "etag: \"1-5\""]
    try await withConnection({ _ in [.answer(headers: headers)] }) { _, connection in
      let answer = try await connection.execute(get, deadline: .soon).get()
      #expect(answer.version == .max)
      #expect(answer.etag == "\"1-5\"")
      #expect(answer.headers["CONTENT-LENGTH"] == ["0"])
    }
  }

  @Test("puts the chunks of an answer together, however they arrive")
  func readsChunks() async throws {
    let script: ScriptedServer.Script = { arrival in
      guard arrival.request == 0 else { return [.answer("next")] }
      return [
        .send("HTTP/1.1 200 OK\r\nTransfer-Enc"), .hold, .send("oding: chunked\r\n\r\n3\r\nab"),
        .hold, .send("c\r\n1"), .hold, .send("0\r\n0123456789abcdef\r\n0\r\n\r\n"),
      ]
    }
    try await withConnection(script) { server, connection in
      let answer = connection.execute(get, deadline: .soon)
      for _ in 0..<3 {
        try await server.release(1)
        // Otherwise the parts would arrive as one. That would do no harm, but test less.
        try await Task.sleep(for: .milliseconds(5))
      }
      try await expect(answer, toGiveText: "abc0123456789abcdef")
      try await expect(connection.execute(get, deadline: .soon), toGiveText: "next")
    }
  }

  @Test("takes the end of the connection for the end of an answer without a length")
  func readsToTheEnd() async throws {
    let script: ScriptedServer.Script = { _ in [.send("HTTP/1.1 200 OK\r\n\r\nall of it"), .close] }
    try await withConnection(script) { server, connection in
      try await expect(connection.execute(get, deadline: .soon), toGiveText: "all of it")
      try await connection.closeFuture.get()
      try await expect(
        connection.execute(put, deadline: .soon),
        toFailWith: .neverSent(server.address, .connectionClosed))
    }
  }

  @Test("expects no body behind the answer to HEAD, behind 204 and 304, and none of 100")
  func knowsAnswersWithoutBody() async throws {
    let heads = [
      "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n",
      "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ]
    try await withConnection({ [.send(heads[$0.request])] }) { server, connection in
      for (method, status) in [(HTTPMethod.HEAD, 200), (.DELETE, 204), (.GET, 304), (.GET, 200)] {
        let answer = try await connection.execute(KVRequest(method, "/"), deadline: .soon).get()
        #expect(answer.status == status)
        #expect(answer.body.readableBytes == 0)
      }
      #expect(server.connectionCount == 1)
    }
  }

  @Test(
    "is closed behind an answer that says so",
    arguments: [
      "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
      "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ])
  func closesOnDemand(answer: String) async throws {
    try await withConnection({ _ in [.send(answer)] }) { _, connection in
      try await expect(connection.execute(get, deadline: .soon), toGiveText: "ok")
      try await connection.closeFuture.get()
    }
  }

  @Test("hands out no answer that nobody asked for")
  func refusesUnsolicitedAnswers() async throws {
    let two =
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2"
    try await withConnection({ _ in [.send(two)] }) { _, connection in
      try await expect(connection.execute(get, deadline: .soon), toGiveText: "1")
      try await connection.closeFuture.get()
    }
    let script: ScriptedServer.Script = { _ in [.answer("1"), .hold, .answer("2")] }
    try await withConnection(script) { server, connection in
      try await expect(connection.execute(get, deadline: .soon), toGiveText: "1")
      try await server.release(1)
      try await connection.closeFuture.get()
    }
  }

  @Test("that is refused has sent nothing")
  func isRefused() async throws {
    try await withServer({ _ in [] }) { server, _ in
      try await withRefusingPort(of: server) { port in
        for host in ["127.0.0.1", "localhost"] {
          let address = NodeAddress(host: host, port: port)
          let connection = KVConnection.connect(
            to: address, on: MultiThreadedEventLoopGroup.singleton.next(), deadline: .soon)
          try await expect(connection, toFailWith: .neverSent(address, .connectionRefused))
        }
      }
    }
  }

  @Test("is not made when its time is over")
  func keepsTheDeadlineBefore() async throws {
    try await withServer({ _ in [] }) { server, _ in
      let loop = MultiThreadedEventLoopGroup.singleton.next()
      let late = KVConnection.connect(to: server.address, on: loop, deadline: .now())
      try await expect(late, toFailWith: .neverSent(server.address, .timedOut(.connecting)))
      #expect(server.connectionCount == 0)
    }
  }

  @Test("gives up at the deadline, and is closed", arguments: ["", "HTTP/1.1 200 OK\r\nContent-"])
  func keepsTheDeadline(beginning: String) async throws {
    try await withConnection({ _ in [.send(beginning)] }) { server, connection in
      // On its event loop, so that the time does not run out before it is sent.
      let answer = connection.eventLoop.flatSubmit {
        connection.execute(put, deadline: .now() + .milliseconds(50))
      }
      try await expect(
        answer, toFailWith: .outcomeUnknown(server.address, .timedOut(.answer), .PUT))
      try await connection.closeFuture.get()
    }
  }

  @Test("that was closed before has sent nothing")
  func knowsThatItIsClosed() async throws {
    try await withConnection({ _ in [.answer()] }) { server, connection in
      try await eventually("the server has the connection") { server.connectionCount == 1 }
      try await server.closeConnections()
      try await connection.closeFuture.get()
      let failure = try await connection.execute(put, deadline: .soon).failure()
      #expect(failure == .neverSent(server.address, .connectionClosed))
      #expect(!failure.mayHaveBeenSent)
    }
  }

  @Test("that is closed after any number of an answer's bytes does not know the outcome")
  func isClosedMidway() async throws {
    let answer = Array("HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 4\r\n\r\nbody".utf8)
    let script: ScriptedServer.Script = { arrival in
      [.send(String(decoding: answer.prefix(arrival.connection), as: UTF8.self)), .close]
    }
    try await withServer(script) { server, _ in
      let loop = MultiThreadedEventLoopGroup.singleton.next()
      for count in 0...answer.count {
        let connection = try await KVConnection.connect(
          to: server.address, on: loop, deadline: .soon
        ).get()
        let outcome = connection.execute(put, deadline: .soon)
        if count == answer.count {
          try await expect(outcome, toGiveText: "body")
        } else {
          let failure = try await outcome.failure()
          #expect(failure == .outcomeUnknown(server.address, .connectionClosed, .PUT), "\(count)")
          #expect(failure.mayHaveBeenSent)
        }
        try await connection.closeFuture.get()
      }
    }
  }

  @Test(
    "is closed when what comes back is no answer",
    arguments: [
      "SSH-2.0-OpenSSH\r\n", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 abc OK\r\n\r\n", "\0\0\0\0",
      "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "HTTP/1.1 200 OK\r\nNo colon\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
      "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n",
      "HTTP/1.1 200 OK\r\nA: \(String(repeating: "a", count: 200_000))\r\n\r\n",
    ])
  func refusesMalformedAnswers(answer: String) async throws {
    try await withConnection({ _ in [.send(answer)] }) { server, connection in
      let failure = try await connection.execute(put, deadline: .soon).failure()
      guard case .outcomeUnknown(server.address, .malformedAnswer, .PUT) = failure else {
        Issue.record("\(failure)")
        return
      }
      try await connection.closeFuture.get()
    }
  }

  @Test(
    "is closed when an answer is larger than allowed, whether it says so before or not",
    arguments: [
      "Content-Length: 11\r\n\r\n", "Content-Length: 99999999999\r\n\r\n", "\r\n01234567890",
      "Transfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n5\r\n67890\r\n",
    ])
  func boundsAnswers(rest: String) async throws {
    let script: ScriptedServer.Script = { _ in [.send("HTTP/1.1 200 OK\r\n\(rest)")] }
    try await withConnection(answerBytesMax: 10, script) { server, connection in
      try await expect(
        connection.execute(get, deadline: .soon),
        toFailWith: .outcomeUnknown(server.address, .answerTooLarge(bytesMax: 10), .GET))
      try await connection.closeFuture.get()
    }
  }

  @Test("takes an answer of exactly the size that is allowed")
  func allowsTheBound() async throws {
    let script: ScriptedServer.Script = { _ in [.answer("0123456789")] }
    try await withConnection(answerBytesMax: 10, script) { _, connection in
      try await expect(connection.execute(get, deadline: .soon), toGiveText: "0123456789")
    }
  }

  @Test("carries large bodies both ways")
  func carriesLargeBodies() async throws {
    let body = String(repeating: "0123456789abcdef", count: 1 << 16)
    try await withConnection({ _ in [.answer(body)] }) { server, connection in
      let request = KVRequest(.PUT, "/", body: ByteBuffer(string: body))
      try await expect(connection.execute(request, deadline: .soon), toGiveText: body)
      #expect(server.arrivals.first?.text.hasSuffix(body) == true)
    }
  }

  @Test("fails its request when it is closed from here")
  func closesUnderWay() async throws {
    try await withConnection({ _ in [] }) { server, connection in
      let answer = connection.execute(put, deadline: .distantFuture)
      try await eventually("the request arrives") { server.arrivals.count == 1 }
      try await connection.close().get()
      try await expect(answer, toFailWith: .outcomeUnknown(server.address, .connectionClosed, .PUT))
    }
  }
}
