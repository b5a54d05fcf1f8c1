import Foundation
import Testing

extension NodeProcessTests {
  @Suite("Five nodes with one command") struct FiveNodesTests {
    private let directory: TemporaryDirectory
    private let addresses = (0..<5).map { _ in LoopbackAddress.fresh() }

    init() throws { directory = try TemporaryDirectory() }

    /// An example of the repository, at addresses of its own.
    private func configuration(_ name: String) throws -> String {
      let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
      var json = try String(
        contentsOf: root.appendingPathComponent("examples/\(name).json"), encoding: .utf8)
      for (number, address) in addresses.enumerated() {
        json = json.replacing("127.0.0.1:808\(number)", with: "\(address)")
      }
      let path = directory.path("\(name).json")
      try Data(json.utf8).write(to: URL(fileURLWithPath: path))
      return path
    }

    private func exchange(_ request: HTTPRequest, _ number: Int) async throws -> HTTPAnswer {
      return try await Threads.runOne {
        try HTTPConnection(to: addresses[number]).exchange(request)
      }
    }

    /// Asks the first node as soon as so many others can be had for it: they begin one after the other.
    private func ask(_ request: HTTPRequest) async throws -> HTTPAnswer {
      let deadline = ContinuousClock.now + .seconds(30)
      while true {
        let answer = try await exchange(request, 0)
        if answer.status == 200 { return answer }
        #expect(answer.status == 503, "\(answer.text)")
        try #require(ContinuousClock.now < deadline, "\(answer.text)")
        try await Task.sleep(for: .milliseconds(20))
      }
    }

    @Test(
      "start, answer a write and a read with their quorums, and stop in order",
      arguments: [(write: 5, read: 1), (write: 1, read: 5), (write: 3, read: 3)])
    func quorums(write: Int, read: Int) async throws {
      let name = "w\(write)r\(read)"
      let process = try RunningProcess(
        .kv,
        [
          "cluster", "--config-file", try configuration(name), "--data-dir",
          directory.path("data"), "--", "--segment-bytes", "65536",
        ], environment: ServedNode.environment([:]), in: directory)
      _ = try await process.output { $0.contains("try: curl ") }
      _ = try await ask(.classicSet("party", "Great"))
      let found = try await ask(HTTPRequest(method: "GET", target: "/get?key=party"))
      #expect(found.text.contains("Value = \"Great\""), "\(found.text)")
      // So many have it by then.
      var holders = 0
      for number in 0..<5 {
        let local = try await exchange(
          HTTPRequest(method: "GET", target: "/local_read/party"), number)
        if local.status == 200 { holders += 1 }
      }
      #expect(holders >= write)
      // The quorum is not met where it takes more than there are.
      let tooMany = try await exchange(
        HTTPRequest(method: "PUT", target: "/kv/party?w=6", body: []), 0)
      #expect(tooMany.status == 400)
      process.send(SIGTERM)
      let outcome = try await process.outcome()
      #expect(outcome.status == 0, "\(outcome.errors)")
      #expect(outcome.errors.contains("stopping 5 nodes"))
    }
  }
}
