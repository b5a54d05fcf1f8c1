import Foundation
import Testing

extension NodeProcessTests {
  /// A library in front of the system's, that writes half of what it is given. strace cannot do that:
  /// what it lets a call return is not what the call did.
  @Suite("A node whose writes are short") struct ShortWriteTests {
    private static let source = """
      #define _GNU_SOURCE
      #include <dlfcn.h>
      #include <errno.h>
      #include <stdlib.h>
      #include <sys/stat.h>
      #include <sys/types.h>
      #include <unistd.h>

      typedef ssize_t (*write_call)(int, const void *, size_t, off_t);

      /* Where the written part of a file ends. */
      static struct { ino_t file; off_t end; } files[64];

      static off_t *end_of(int file) {
        struct stat status;
        if (fstat(file, &status) != 0) abort();
        for (int number = 0; number < 64; number++) {
          if (files[number].file == 0) files[number].file = status.st_ino;
          if (files[number].file == status.st_ino) return &files[number].end;
        }
        abort();
      }

      /* Half of each write. While the file FULL is there only what was written before can be written
         over, and there is no space behind that. Zeros, which prepare a file, do not count. */
      ssize_t pwrite(int file, const void *bytes, size_t count, off_t offset) {
        write_call next = (write_call)dlsym(RTLD_NEXT, "pwrite");
        const char *full = getenv("FULL");
        size_t zeros = 0;
        if (count > 1) count /= 2;
        while (zeros < count && ((const char *)bytes)[zeros] == 0) zeros++;
        if (zeros == count) return next(file, bytes, count, offset);
        off_t *end = end_of(file);
        if (full && access(full, F_OK) == 0 && offset + (off_t)count > *end) {
          if (offset >= *end) { errno = ENOSPC; return -1; }
          count = *end - offset;
        }
        ssize_t written = next(file, bytes, count, offset);
        if (written > 0 && offset + written > *end) *end = offset + written;
        return written;
      }
      """

    /// Whether the disk is full at a write: at five, then not at five, and so on.
    private static func isFull(_ number: Int) -> Bool { number / 5 % 2 == 1 }

    /// Settings of a node that runs with the library.
    private func settings() async throws -> (ServedNode.Settings, full: URL) {
      let directory = try TemporaryDirectory()
      let (code, library) = (directory.path("short.c"), directory.path("short.so"))
      try Self.source.write(toFile: code, atomically: true, encoding: .utf8)
      let compiled = try await Executable.installed("clang").run(
        ["-shared", "-fPIC", "-O1", "-o", library, code, "-ldl"], in: directory)
      try #require(compiled.status == 0, "\(compiled.errors)")
      var settings = ServedNode.Settings(in: directory)
      let full = directory.url.appendingPathComponent("full")
      settings.environment = ["LD_PRELOAD": library, "FULL": full.path]
      return (settings, full)
    }

    @Test("writes the rest of each, and undoes what the disk had no room for")
    func undone() async throws {
      let (settings, full) = try await settings()
      let node = try await ServedNode.start(settings)
      let value = String(repeating: "value ", count: 2_000)
      let statuses = try await Threads.runOne {
        let connection = try node.connect()
        return try (0..<60).map { number in
          if number % 5 == 0 {
            if Self.isFull(number) {
              try Data().write(to: full)
            } else if number > 0 {
              try FileManager.default.removeItem(at: full)
            }
          }
          return try connection.put("key-\(number)", value).status
        }
      }
      #expect(statuses == (0..<60).map { Self.isFull($0) ? 507 : 201 })
      try await node.kill()
      var plain = settings
      plain.environment = [:]
      let again = try await ServedNode.start(plain)
      let found = try await Threads.runOne {
        try NodeWriter.read((0..<60).map { "key-\($0)" }, try again.connect())
      }
      #expect(
        found
          == Dictionary(
            uniqueKeysWithValues: (0..<60).filter { !Self.isFull($0) }.map { ("key-\($0)", value) })
      )
      #expect(!FileManager.default.fileExists(atPath: settings.data + "/diverged"))
      try await again.stop()
    }

    @Test("follows again, and lacks nothing, when its disk was full while frames kept coming")
    func replica() async throws {
      let (library, full) = try await settings()
      var set = try ReplicaSet(
        in: library.directory, replicas: 1, flags: ["--segment-bytes", "16777216"])
      set.settings[1].environment = library.environment
      let nodes = [try await set.start(0), try await set.start(1)]
      try await ReplicaSet.awaitStreaming(nodes[0], count: 1)
      let value = Array(String(repeating: "value ", count: 300).utf8)
      let isOver = full.deletingLastPathComponent().appendingPathComponent("over")
      let (statuses, _) = try await Threads.run(8) { number in
        let connection = try nodes[0].connect()
        var statuses: Set<Int> = []
        while !FileManager.default.fileExists(atPath: isOver.path) {
          let request = HTTPRequest(
            method: "PUT", target: "/kv/key-\(number)?w=2&timeout_ms=50", body: value)
          statuses.insert(try connection.exchange(request).status)
        }
        return statuses
      } meanwhile: {
        defer { FileManager.default.createFile(atPath: isOver.path, contents: nil) }
        for _ in 0..<12 {
          try await Task.sleep(for: .milliseconds(100))
          try Data().write(to: full)
          try await Task.sleep(for: .milliseconds(60))
          try FileManager.default.removeItem(at: full)
        }
      }
      let seen = statuses.reduce(into: Set<Int>()) { $0.formUnion($1) }
      #expect(seen.isSuperset(of: [200, 504]), "\(seen)")
      #expect(seen.isSubset(of: [200, 201, 503, 504]), "\(seen)")
      try await ReplicaSet.catchUp(nodes[0], [nodes[1]])
      try await ReplicaSet.expectEqual(nodes, "after full disks")
      for node in nodes { try await node.stop() }
      try await set.expectEqualLogs()
    }
  }
}
