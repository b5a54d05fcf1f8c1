import Server
import Sharding
import TemporaryFiles
import Testing

@Suite("A node with keys of other shards")
struct PurgeRouteTests {
  private static let refusals: [DialectName: String] = [
    .classic: "Error = purge refused: ", .compact: "err=purge refused: ",
    .plain: "Failed to delete extra keys: purge refused: ",
  ]

  /// A directory of one shard with keys.
  private func directory(_ keys: Int) async throws -> TemporaryDirectory {
    let directory = TemporaryDirectory()
    let parent = try await RunningNode.start(.fast) { $0.dataDirectory = directory.path + "/data" }
    let client = try parent.connect()
    for number in 0..<keys {
      _ = try await client.ask("PUT", "/kv/key-\(number)", body: "value")
    }
    try await parent.stop()
    return directory
  }

  private func withHalf(
    of directory: TemporaryDirectory, _ dialect: DialectName = .classic,
    _ body: (RunningNode) async throws -> Void
  ) async throws {
    try await RunningNode.with(
      .fast,
      {
        $0.dataDirectory = directory.path + "/data"
        $0.shardIndex = 1
        $0.shardCount = 2
        $0.dialect = dialect
      }, body)
  }

  @Test(
    "is not purged without its owners' word, unless it is forced", arguments: DialectName.allCases)
  func refused(dialect: DialectName) async throws {
    let directory = try await directory(40)
    let foreign = (0..<40).count { number in
      Array("key-\(number)".utf8).withUnsafeBytes { ShardHash.fnv1($0) } % 2 == 0
    }
    try await withHalf(of: directory, dialect) { node in
      for target in ["/purge", "/purge?dry_run=true", "/purge?force=false"] {
        let answer = try await node.ask("POST", target)
        #expect(answer.status == 409 && answer["x-kv-purged"] == "\(foreign)", "\(target)")
        #expect(answer.text.hasPrefix(Self.refusals[dialect]!), "\(answer.text)")
        #expect(answer.text.contains("\(foreign) keys are of other shards"), "\(answer.text)")
      }
      let dry = try await node.ask("POST", "/purge?dry_run=true&force=true")
      #expect(dry.status == 200 && dry["x-kv-purged"] == "\(foreign)")
      try await #expect(node.ask("GET", "/status").text.contains("\"keys\":40,"))
      let forced = try await node.ask("GET", "/purge?force=true")
      #expect(forced.status == 200 && forced["x-kv-purged"] == "\(foreign)")
      try await #expect(node.ask("GET", "/status").text.contains("\"keys\":\(40 - foreign),"))
      // Nothing is left to go, and nobody is asked.
      let again = try await node.ask("POST", "/purge")
      #expect(again.status == 200 && again["x-kv-purged"] == "0" && again["x-kv-version"] == nil)
    }
  }

  @Test("says whether a point is in its history, and what it has of its shard")
  func history() async throws {
    let directory = try await directory(10)
    try await withHalf(of: directory) { node in
      let told = try await node.ask("GET", "/admin/history?content=true")
      #expect(told.status == 200 && told.text.contains("\"shard\":{\"count\":2,\"index\":1}"))
      let words = told.text.split(whereSeparator: { "\"{},:".contains($0) }).map(String.init)
      func value(_ name: String) throws -> String {
        words[try #require(words.firstIndex(of: name)) + 1]
      }
      let start = try #require(told.text.range(of: "\"start\":{"))
      let point = told.text[start.upperBound...]
        .split(whereSeparator: { "\"{},:".contains($0) }).map(String.init)
      let (crc, epoch, sequence) = (point[1], point[3], point[5])
      let origin = try value("origin")
      func evidence(_ query: String) async throws -> String? {
        let answer = try await node.ask("GET", "/admin/history?\(query)")
        guard let found = answer.text.range(of: "\"evidence\":\"") else { return nil }
        return String(answer.text[found.upperBound...].prefix { $0 != "\"" })
      }
      let whole = "origin=\(origin)&epoch=\(epoch)&seq=\(sequence)"
      try await #expect(evidence("\(whole)&crc=\(crc)") == "log")
      try await #expect(evidence("\(whole)&crc=00000000") == "absent")
      try await #expect(evidence(whole) == "epochs")
      try await #expect(
        evidence("origin=0000000000000001&epoch=\(epoch)&seq=\(sequence)&crc=\(crc)") == "absent")
      try await #expect(
        evidence("origin=\(origin)&epoch=\(epoch)&seq=99999&crc=\(crc)") == "absent")
      try await #expect(evidence("") == nil)
      for query in [
        "seq=1", "epoch=\(epoch)", "crc=\(crc)", "content=maybe", "seq=0&epoch=\(epoch)",
        "seq=x&epoch=\(epoch)", "seq=1&epoch=1", "origin=1",
      ] {
        try await #expect(node.ask("GET", "/admin/history?\(query)").status == 400, "\(query)")
      }
      try await #expect(node.ask("POST", "/admin/history").status == 405)
    }
  }
}
