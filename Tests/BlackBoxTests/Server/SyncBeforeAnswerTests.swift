import Foundation
import Testing

extension NodeProcessTests {
  @Suite("An answer to a write") struct SyncBeforeAnswerTests {
    /// Writes with that many clients, one request at a time each, and looks at the node's calls.
    private func faults(clients: Int, writes: Int, sync: String) async throws -> [String] {
      let directory = try TemporaryDirectory()
      var settings = ServedNode.Settings(in: directory)
      settings.flags = ["--segment-bytes", "16384", "--sync", sync]
      settings.tracing = [
        "-s", "16384", "-e",
        "trace=read,readv,recvfrom,write,writev,sendto,sendmsg,pwrite64,pwritev,fdatasync,fsync",
      ]
      let node = try await ServedNode.start(settings)
      let statuses = try await Threads.run(clients) { client in
        let connection = try node.connect()
        return try (0..<writes).map { number in
          try connection.put("order.\(client).\(number).end", "value").status
        }
      }
      #expect(statuses.joined().allSatisfy { $0 == 201 })
      try await node.kill()
      let trace = SystemCallTrace(try await node.traceText())
      return (0..<clients).flatMap { client in
        (0..<writes).compactMap { trace.fault(ofAnswerTo: "order.\(client).\($0).end") }
      }
    }

    @Test("of a client alone comes after the sync of that write")
    func alone() async throws {
      let faults = try await faults(clients: 1, writes: 100, sync: "always")
      #expect(faults == [])
    }

    @Test("of one of sixteen clients comes after a sync that covers that write")
    func many() async throws {
      let faults = try await faults(clients: 16, writes: 25, sync: "always")
      #expect(faults == [])
    }

    @Test("that does not wait for the disk is found out")
    func none() async throws {
      let faults = try await faults(clients: 4, writes: 25, sync: "none")
      // The sync that a full segment gets in the background can come in time, by chance.
      #expect(faults.count > 80)
    }

    @Test("that begins before the sync has ended is found out, whatever lies between")
    func early() {
      func fault(_ lines: String...) -> String? {
        SystemCallTrace(lines.joined(separator: "\n")).fault(ofAnswerTo: "key")
      }
      let read = "12 read(16<socket:[5]>, \"PUT /kv/key\", 99) = 9"
      let write = "11 pwrite64(9</d/1.wal>, \"key\", 3, 0) = 3"
      let answer = "12 write(16<socket:[5]>, \"HTTP\", 4) = 4"
      #expect(fault(read, write, "11  fdatasync(9</d/1.wal>) = 0", answer) == nil)
      #expect(
        fault(
          read, write, "11  fdatasync(9</d/1.wal> <unfinished ...>",
          "12 write(13<anon>, \"1\", 1) = 1", "11  <... fdatasync resumed>) = 0", answer) == nil)
      #expect(
        fault(
          read, write, "11 fdatasync(9</d/1.wal> <unfinished ...>", answer,
          "11 <... fdatasync resumed>) = 0") != nil)
      #expect(fault(read, write, answer, "11 fdatasync(9</d/1.wal>) = 0") != nil)
      #expect(fault(read, write, "11 fdatasync(9</d/2.wal>) = 0", answer) != nil)
      #expect(
        fault(read, "11 fdatasync(9</d/1.wal>) = 0", write, answer) != nil,
        "a sync before the write")
      #expect(fault(read, write, "11 fdatasync(9</d/1.wal>) = -1 EIO", answer) != nil)
    }
  }
}
