import Foundation
import Testing

extension NodeProcessTests {
  @Suite("The commands that ask a node") struct CommandTests {
    private let directory: TemporaryDirectory
    private let node: ServedNode

    init() async throws {
      directory = try TemporaryDirectory()
      node = try await ServedNode.start(.init(in: directory))
    }

    private func kv(_ arguments: String..., input: Data? = nil) async throws -> Outcome {
      try await Executable.kv.run(
        arguments + ["--http-addr", "\(node.address)"], input: input, in: directory)
    }

    @Test("set, get and delete a key")
    func text() async throws {
      let set = try await kv("set", "a key/é", "its value")
      #expect(set.status == 0 && set.errors == "")
      let words = set.output.split(separator: " ")
      #expect(words.count == 2 && words[0] == "version" && words[1].hasSuffix("\n"))
      let get = try await kv("get", "a key/é")
      #expect(get.status == 0 && get.output == "its value" && get.errors == "")
      #expect(try node.connect().get("a key/é").text == "its value")
      let delete = try await kv("delete", "a key/é")
      #expect(delete.status == 0 && delete.output == "deleted\n" && delete.errors == "")
      for command in ["get", "delete"] {
        let absent = try await kv(command, "a key/é")
        #expect(absent.status == 1 && absent.output == "")
        #expect(absent.errors == "error: key not found: \"a key/é\"\n")
      }
      try await node.stop()
    }

    @Test("print JSON")
    func json() async throws {
      let set = try await kv("set", "key", "a \"b\"", "--json")
      // A quiet log has marks of its own, with numbers.
      let version = try #require(set.output.split { !$0.isNumber }.last)
      #expect(set.output == "{\"key\":\"key\",\"version\":\(version)}\n")
      let get = try await kv("get", "key", "--json")
      #expect(
        get.output
          == "{\"key\":\"key\",\"value\":\"a \\\"b\\\"\",\"version\":\(version)}\n")
      let delete = try await kv("delete", "key", "--json")
      #expect(delete.output == "{\"key\":\"key\",\"deleted\":true}\n")
      let absent = try await kv("get", "key", "--json")
      #expect(absent.status == 1 && absent.output == "")
      let status = try await kv("status", "--json")
      let object = try JSONSerialization.jsonObject(with: Data(status.output.utf8))
      let members = try #require(object as? [String: Any])
      #expect(members["node"] as? String == "\(node.address)")
      #expect(members["role"] as? String == "leader" && members["keys"] as? Int == 0)
      try await node.stop()
    }

    @Test("take a value from standard input, byte for byte, and print it so")
    func bytesOfAnyKind() async throws {
      // Above what fits into a buffer, with every byte in it.
      let bytes = Data((0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 8) })
      #expect(try await kv("set", "key", "-", input: bytes).status == 0)
      let name = directory.path("value")
      let get = try await Executable.shell.run(
        ["-c", "'\(Executable.kv.url.path)' get key --http-addr \(node.address) > '\(name)'"],
        in: directory)
      #expect(get.status == 0)
      #expect(try Data(contentsOf: URL(fileURLWithPath: name)) == bytes)
      try await node.stop()
    }

    @Test("status says how the node is")
    func status() async throws {
      _ = try await kv("set", "key", "value")
      let status = try await kv("status")
      #expect(status.status == 0)
      for words in ["\(node.address)", "leader", "keys", "durable"] {
        #expect(status.output.contains(words), "\(status.output)")
      }
      #expect(!status.output.contains("\u{1B}"), "colours are for people")
      try await node.stop()
    }

    @Test("say in one line that nobody listens, exit 1")
    func nobody() async throws {
      try await node.stop()
      for arguments in [["get", "k"], ["set", "k", "v"], ["delete", "k"], ["status"]] {
        let outcome = try await Executable.kv.run(
          arguments + ["--http-addr", "\(node.address)"], in: directory)
        #expect(outcome.status == 1 && outcome.output == "")
        #expect(outcome.errors.hasPrefix("error: \(node.address): "), "\(outcome.errors)")
        #expect(outcome.errors.contains("refused"), "\(outcome.errors)")
        #expect(outcome.errors.split(separator: "\n").count == 1)
      }
    }

    @Test("give up after --timeout on a node that does not answer, exit 1")
    func silent() async throws {
      node.process.send(SIGSTOP)
      defer { node.process.send(SIGCONT) }
      let start = ContinuousClock.now
      let outcome = try await kv("get", "k", "--timeout", "0.3")
      #expect(outcome.status == 1 && outcome.output == "")
      #expect(ContinuousClock.now - start < .seconds(3))
      #expect(outcome.errors.split(separator: "\n").count == 1, "\(outcome.errors)")
      #expect(outcome.errors.contains("\(node.address)"), "\(outcome.errors)")
    }

    @Test("say in one line what the node refuses, exit 1")
    func refused() async throws {
      let outcome = try await kv("set", String(repeating: "k", count: 4_097), "value")
      #expect(outcome.status == 1 && outcome.output == "")
      #expect(outcome.errors.split(separator: "\n").count == 1 && outcome.errors.contains("key"))
      try await node.stop()
    }

    @Test("refuse what makes no sense, exit 64")
    func usage() async throws {
      for arguments in [
        ["get"], ["set", "k"], ["get", ""], ["get", "k", "--timeout", "0"], ["get", "k", "extra"],
      ] {
        let outcome = try await Executable.kv.run(
          arguments + ["--http-addr", "\(node.address)"], in: directory)
        #expect(outcome.status == 64, "\(arguments.joined(separator: " ").prefix(40))")
        #expect(outcome.output == "")
      }
      try await node.stop()
    }
  }
}
