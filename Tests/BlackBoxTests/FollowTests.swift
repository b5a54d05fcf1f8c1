import Foundation
import Testing
import WAL

@Suite("Follow") struct FollowTests {
  @Test(
    "--follow shows what a running writer appends, over segments, until a signal",
    arguments: [SIGTERM, SIGINT])
  func runningWriter(signal: Int32) async throws {
    let log = try LogFixture()
    try log.put(1)
    let follower = try RunningProcess(
      .dump, [log.path, "--follow", "--json", "--type", "put"], in: log.directory)
    _ = try await follower.output { $0.contains("\"key-1\"") }

    let writer = try RunningProcess(
      .writer,
      ["--data-dir", log.path, "--segment-bytes", "4096", "--value-bytes", "100", "--batch", "3"],
      in: log.directory)
    let acknowledged = try await writer.output { $0.split(separator: "\n").count > 100 }
    let last = try #require(acknowledged.split(separator: "\n").dropLast().last)
    let key = try #require(last.split(separator: " ").last)
    _ = try await follower.output { $0.contains("\"\(key)\"") }
    writer.send(SIGKILL)
    _ = try await writer.outcome()
    #expect(try log.segments().count > 3)

    follower.send(signal)
    let outcome = try await follower.outcome()
    #expect(outcome.status == 0)
    #expect(outcome.errors == "")
    let keys = outcome.lines.compactMap {
      try? JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]
    }.compactMap { $0["key"] as? String }
    #expect(keys == (1...keys.count).map { "key-\($0)" })
  }

  @Test("a torn end is what is not written yet")
  func tornEnd() async throws {
    let log = try LogFixture()
    try log.put(5, closes: false)
    let last = try #require(try log.frames().last)
    let whole = try Data(contentsOf: URL(fileURLWithPath: last.file))
    try log.tear(last, keeping: 90)
    let follower = try RunningProcess(.dump, [log.path, "--follow"], in: log.directory)
    _ = try await follower.output { $0.contains("\"key-4\"") }
    let handle = try FileHandle(forUpdating: URL(fileURLWithPath: last.file))
    try handle.write(contentsOf: whole)
    try handle.close()
    _ = try await follower.output { $0.contains("\"key-5\"") }
    follower.send(SIGTERM)
    let outcome = try await follower.outcome()
    #expect(outcome.status == 0)
    #expect(outcome.errors == "")
  }

  @Test("corruption is reported, and it goes on behind it")
  func corruption() async throws {
    let log = try LogFixture()
    try log.put(50)
    let place = try log.frames()[20]
    try log.flip(place.file, at: place.offset + 80)
    let follower = try RunningProcess(.dump, [log.path, "--follow"], in: log.directory)
    _ = try await follower.output { $0.contains("\"key-50\"") }
    follower.send(SIGTERM)
    let outcome = try await follower.outcome()
    #expect(outcome.status == 3)
    #expect(outcome.errors.contains("sequence number 21: corrupt"))
  }

  @Test("--to-seq ends it")
  func bounded() async throws {
    let log = try LogFixture()
    try log.put(50)
    let outcome = try await log.dump(log.path, "--follow", "--to-seq", "30")
    #expect(outcome.status == 0)
    #expect(outcome.lines.count == 30)
  }

  @Test("standard input is followed to its end")
  func standardInput() async throws {
    let log = try LogFixture()
    try log.put(50)
    let outcome = try await log.dump("-", "--follow", input: try log.stream())
    #expect(outcome.status == 0)
    #expect(outcome.lines.count == 52)
  }
}
