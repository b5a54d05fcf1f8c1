import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A node that has much to read when it starts") struct StartingProcessTests {
    /// A node's settings, whose directory has a log of some MB, and what was written.
    private func filled() async throws -> (ServedNode.Settings, [String: String]) {
      var settings = ServedNode.Settings(in: try TemporaryDirectory())
      settings.flags = ["--segment-bytes", "1MiB"]
      let node = try await ServedNode.start(settings)
      let written = try await Threads.runOne { () throws -> [String: String] in
        let connection = try node.connect()
        var written: [String: String] = [:]
        for number in 0..<100 {
          let value = "\(number) " + String(repeating: "v", count: 60_000)
          #expect(try connection.put("key-\(number)", value).status == 201)
          written["key-\(number)"] = value
        }
        return written
      }
      try await node.kill()
      return (settings, written)
    }

    private func slow(_ settings: ServedNode.Settings, delay: String) -> ServedNode.Settings {
      var slow = settings
      slow.tracing = ["-e", "trace=pread64", "-e", "inject=pread64:delay_enter=\(delay)"]
      return slow
    }

    /// The answer on a connection of its own; nil while nobody listens.
    private static func ask(_ node: ServedNode, _ request: HTTPRequest) throws -> HTTPAnswer? {
      do {
        return try node.connect().exchange(request)
      } catch ConnectionError.refused {
        return nil
      }
    }

    private static let ready = HTTPRequest(method: "GET", target: "/ready")
    private static let health = HTTPRequest(method: "GET", target: "/health")

    /// Asks until it is told of the log.
    private static func waitForLog(_ node: ServedNode) throws {
      while try ask(node, ready)?.text.hasPrefix("recovering: log, ") != true { usleep(5_000) }
    }

    @Test("says how far it is, writes nothing, and then serves on the same address")
    func progress() async throws {
      let (settings, written) = try await filled()
      let node = try ServedNode(slow(settings, delay: "100ms"))
      try await Threads.runOne { try Self.waitForLog(node) }
      let status = try await Executable.kv.run(
        ["status", "--http-addr", "\(node.address)"], in: settings.directory)
      #expect(status.status == 1 && status.errors.contains("the node is starting: log, "))
      let texts = try await Threads.runOne { () throws -> [String] in
        let put = try #require(try Self.ask(node, .put("new", "value")))
        #expect(put.status == 503 && put.head.lowercased().contains("retry-after: 1"))
        #expect(put.text.hasPrefix("{\"error\":\"the node is starting: "))
        var texts: [String] = []
        while true {
          let health = try #require(try Self.ask(node, Self.health))
          #expect(health.status == 200 && health.text == "ok")
          let ready = try #require(try Self.ask(node, Self.ready))
          if ready.status == 200 { return texts }
          #expect(ready.status == 503 && ready.text.hasPrefix("recovering: "), "\(ready.text)")
          texts.append(ready.text)
          usleep(5_000)
        }
      }
      let done = texts.compactMap { text in
        text.hasPrefix("recovering: log, ") ? Int(text.split(separator: " ")[2]) : nil
      }
      #expect(done == done.sorted() && Set(done).count > 3, "\(texts)")
      _ = try await node.process.errors { $0.contains("listening on ") }
      let connection = try node.connect()
      #expect(try connection.get("new").status == 404)
      for (key, value) in written { #expect(try connection.get(key).text == value) }
      try await node.stop()
    }

    @Test(
      "stops at once when it is told to, and the next start has everything",
      arguments: [SIGTERM, SIGINT])
    func stopped(_ signal: Int32) async throws {
      let (settings, written) = try await filled()
      let node = try ServedNode(slow(settings, delay: "500ms"))
      try await Threads.runOne { try Self.waitForLog(node) }
      let outcome = try await node.stop(signal)
      #expect(outcome.errors.contains("stopped before it had read its data"))
      #expect(!outcome.errors.contains("recovered") && !outcome.errors.contains("listening"))
      let again = try await ServedNode.start(settings)
      let connection = try again.connect()
      for (key, value) in written { #expect(try connection.get(key).text == value) }
      try await again.stop()
    }

    @Test("ends with its message when the data is damaged, after it has answered")
    func damaged() async throws {
      let (settings, _) = try await filled()
      let log = try LogFixture(in: settings.directory)
      let second = try #require(try log.segments().dropFirst().first)
      let place = try #require(try log.frames().filter { $0.file == second }.dropFirst().first)
      try log.flip(second, at: place.offset + 200)
      let node = try ServedNode(slow(settings, delay: "100ms"))
      try await Threads.runOne { try Self.waitForLog(node) }
      let outcome = try await node.process.outcome()
      #expect(outcome.status == 1 && outcome.errors.contains("error: \(second): at byte "))
      #expect(throws: ConnectionError.refused) { try node.connect() }
    }
  }
}
