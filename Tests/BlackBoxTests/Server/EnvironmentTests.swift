import Foundation
import Testing

extension NodeProcessTests {
  @Suite("The environment of a node") struct EnvironmentTests {
    /// A port of 127.0.0.1 that nobody listens on.
    private func freePort() throws -> UInt16 {
      let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
      defer { close(descriptor) }
      var address = LoopbackAddress(ip: "127.0.0.1", port: 0).socketAddress
      var size = socklen_t(MemoryLayout<sockaddr_in>.size)
      let result = withUnsafeMutablePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          bind(descriptor, $0, size) | getsockname(descriptor, $0, &size)
        }
      }
      try #require(result == 0)
      return UInt16(bigEndian: address.sin_port)
    }

    private func serve(
      _ flags: [String], _ environment: [String: String], in directory: TemporaryDirectory
    ) async throws -> RunningProcess {
      let process = try RunningProcess(
        .kv, ["serve", "--segment-bytes", "65536"] + flags,
        environment: ServedNode.environment(environment), in: directory)
      _ = try await process.errors { $0.contains("listening on ") }
      return process
    }

    @Test("PORT alone chooses address and directory")
    func portAlone() async throws {
      let directory = try TemporaryDirectory()
      let port = try freePort()
      let process = try await serve([], ["PORT": "\(port)"], in: directory)
      let connection = try HTTPConnection(to: LoopbackAddress(ip: "127.0.0.1", port: port))
      #expect(try connection.put("key", "value").status == 201)
      #expect(FileManager.default.fileExists(atPath: directory.path("data/\(port)/wal")))
      process.send(SIGTERM)
      #expect(try await process.outcome().status == 0)
    }

    @Test("a flag beats PORT")
    func flagBeatsPort() async throws {
      let directory = try TemporaryDirectory()
      let address = LoopbackAddress.fresh()
      let process = try await serve(
        ["--http-addr", "\(address)"], ["PORT": "1"], in: directory)
      #expect(try HTTPConnection(to: address).put("key", "value").status == 201)
      #expect(FileManager.default.fileExists(atPath: directory.path("data/wal")))
      process.send(SIGTERM)
      #expect(try await process.outcome().status == 0)
    }

    @Test("--data-dir holds beside PORT")
    func directoryBesidePort() async throws {
      let directory = try TemporaryDirectory()
      let port = try freePort()
      let process = try await serve(["--data-dir", "mine"], ["PORT": "\(port)"], in: directory)
      #expect(FileManager.default.fileExists(atPath: directory.path("mine/wal")))
      #expect(!FileManager.default.fileExists(atPath: directory.path("data")))
      process.send(SIGTERM)
      #expect(try await process.outcome().status == 0)
    }

    @Test("a PORT or FAST_LANE that makes no sense is refused, exit 64, but not behind a flag")
    func bad() async throws {
      let directory = try TemporaryDirectory()
      for (name, value) in [("PORT", "http"), ("FAST_LANE", "maybe")] {
        let outcome = try await Executable.kv.run(
          ["serve"], environment: ServedNode.environment([name: value]), in: directory)
        #expect(outcome.status == 64)
        #expect(
          outcome.errors.contains(name) && outcome.errors.contains(value), "\(outcome.errors)")
        #expect(!FileManager.default.fileExists(atPath: directory.path("data")))
      }
      let process = try await serve(
        ["--http-addr", "\(LoopbackAddress.fresh())", "--fast-lane", "on"],
        ["PORT": "http", "FAST_LANE": "maybe"], in: directory)
      process.send(SIGTERM)
      #expect(try await process.outcome().status == 0)
    }

    @Test("NODE_ID names the node in its epochs, whatever its address is")
    func nodeID() async throws {
      var numbers: Set<String> = []
      for name in ["one", "one", "two"] {
        let directory = try TemporaryDirectory()
        var settings = ServedNode.Settings(in: directory)
        settings.environment = ["NODE_ID": name]
        let node = try await ServedNode.start(settings)
        let status = try node.connect().exchange(.status).members()
        numbers.insert(try #require(status["epoch_node"] as? String))
        try await node.stop()
      }
      #expect(numbers.count == 2)
    }
  }
}
