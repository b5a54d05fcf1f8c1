import Foundation
import Testing
import WAL

@Suite("Difference") struct DifferenceTests {
  private let directory: TemporaryDirectory
  private let one: LogFixture
  private let other: LogFixture

  init() throws {
    directory = try TemporaryDirectory()
    one = try LogFixture("one", in: directory)
    other = try LogFixture("other", in: directory)
    try one.put(60, closes: false)
  }

  private func copy() throws {
    try FileManager.default.copyItem(atPath: one.path, toPath: other.path)
  }

  @Test("equal logs have none, exit 0")
  func same() async throws {
    try copy()
    let outcome = try await one.dump(one.path, "--diff", other.path)
    #expect(outcome.status == 0)
    #expect(outcome.output == "no difference in sequence numbers 1 to 61\n")
  }

  @Test("a log that goes on behind the other is none, and is said")
  func prefix() async throws {
    try copy()
    try other.write { try $0.put(bytes("more")) }
    let outcome = try await one.dump(one.path, "--diff", other.path)
    #expect(outcome.status == 0)
    #expect(
      outcome.output
        == "no difference in sequence numbers 1 to 61; \(other.path) goes on behind \(one.path)\n")
  }

  @Test("the first difference is shown from both sides, exit 4")
  func different() async throws {
    try copy()
    try one.write { try $0.put(bytes("same key"), bytes("value")) }
    try other.write { try $0.put(bytes("same key"), bytes("VALUE")) }
    let outcome = try await one.dump(one.path, "--diff", other.path, "--values")
    #expect(outcome.status == 4)
    #expect(outcome.lines.count == 3)
    #expect(outcome.lines[0] == "first difference at sequence number 62: value, crc")
    #expect(outcome.lines[1].hasPrefix("- "))
    #expect(outcome.lines[1].hasSuffix("\"value\""))
    #expect(outcome.lines[2].hasPrefix("+ "))
    #expect(outcome.lines[2].hasSuffix("\"VALUE\""))
  }

  @Test("only the numbers that both hold are compared")
  func overlap() async throws {
    try copy()
    try other.remove(try other.segments()[0])
    try SystemFileSystem().makeDirectory(other.path + "/snapshots")
    try Data().write(to: URL(fileURLWithPath: other.path + "/snapshots/1"))
    let first = try #require(try other.frames().first).header.firstSequence
    let outcome = try await one.dump(one.path, "--diff", other.path)
    #expect(outcome.status == 0)
    #expect(outcome.output == "no difference in sequence numbers \(first) to 61\n")
    #expect(
      try await one.dump(one.path, "--diff", other.path, "--to-seq", "1").output
        .hasPrefix("nothing to compare"))
  }

  @Test("the same records in other frames differ by the crc")
  func framing() async throws {
    try other.write { writer in
      var frame = FrameBuilder()
      for index in 1...2 {
        let value = bytes(String(repeating: "v", count: 20))
        frame.append(.put, key: bytes("key-\(index)").span.bytes, value: value.span.bytes)
      }
      try writer.commit(&frame)
    }
    let outcome = try await one.dump(one.path, "--diff", other.path)
    #expect(outcome.status == 4)
    #expect(outcome.lines[0] == "first difference at sequence number 2: crc")
  }
}
