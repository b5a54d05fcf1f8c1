import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A node that is told to stop") struct StoppingTests {
    @Test(
      "ends what is in progress, syncs, and leaves with 0", arguments: [SIGTERM, SIGINT],
      ["always", "none"])
    func drained(_ signal: Int32, sync: String) async throws {
      let directory = try TemporaryDirectory()
      var settings = ServedNode.Settings(in: directory)
      settings.flags += ["--sync", sync]
      let node = try await ServedNode.start(settings)
      let address = node.address
      async let ended = Threads.run(8) { index in
        var writer = NodeWriter("w\(index)", depth: index % 2 == 0 ? 1 : 8, seed: UInt64(index))
        writer.write(to: address)
        return writer
      }
      try await Task.sleep(for: .milliseconds(200))
      let start = ContinuousClock.now
      let outcome = try await node.stop(signal)
      // Far below the time that what is in progress may take.
      #expect(ContinuousClock.now - start < .seconds(5))
      let writers = try await ended
      let words = outcome.errors.split(separator: "\n").suffix(2).map { $0.split(separator: " ") }
      #expect(words.map(\.last) == ["stopping", "stopped"])
      let again = try await ServedNode.start(settings)
      #expect(!(try again.process.errorsSoFar()).contains("unclean"))
      let faults = try await Threads.runOne {
        let connection = try again.connect()
        return try writers.flatMap { writer in
          var writer = writer
          return try writer.check(connection)
        }
      }
      #expect(faults == [])
      #expect(writers.map(\.history.acknowledgedCount).reduce(0, +) > 100)
      try await again.stop()
    }

    @Test("answers the request that it has begun to read")
    func begunRequest() async throws {
      let node = try await ServedNode.start(.init(in: try TemporaryDirectory()))
      let connection = try node.connect()
      let bytes = HTTPRequest.put("key", "value").bytes
      try connection.send(Array(bytes.dropLast(3)))
      try await Task.sleep(for: .milliseconds(50))
      node.process.send(SIGTERM)
      _ = try await node.process.errors { $0.contains("stopping") }
      try connection.send(Array(bytes.suffix(3)))
      let answer = try connection.receive()
      #expect(answer.status == 201)
      #expect(answer.head.lowercased().contains("connection: close"))
      #expect(try await node.process.outcome().status == 0)
    }

    @Test("leaves at once at the second signal", arguments: [SIGTERM, SIGINT])
    func twice(_ signal: Int32) async throws {
      let settings = ServedNode.Settings(in: try TemporaryDirectory())
      let node = try await ServedNode.start(settings)
      let connection = try node.connect()
      #expect(try connection.put("key", "value").status == 201)
      // Half a request keeps the node waiting.
      try connection.send(Array("PUT /kv/other HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf".utf8))
      try await Task.sleep(for: .milliseconds(50))
      node.process.send(signal)
      _ = try await node.process.errors { $0.contains("stopping") }
      let start = ContinuousClock.now
      node.process.send(signal)
      let outcome = try await node.process.outcome()
      #expect(outcome.status == 1)
      #expect(ContinuousClock.now - start < .seconds(1))
      let again = try await ServedNode.start(settings)
      #expect(try again.process.errorsSoFar().contains("the last stop was unclean"))
      #expect(try again.connect().get("key").text == "value")
      try await again.stop()
    }
  }
}
