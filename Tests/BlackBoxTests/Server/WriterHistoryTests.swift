import Foundation
import Testing

/// The judge has to be able to say no.
extension NodeProcessTests {
  @Suite("A writer's history") struct WriterHistoryTests {
    typealias Change = WriterHistory.Change

    private func history() -> WriterHistory {
      var history = WriterHistory(keys: ["a", "b", "c"])
      for write in [
        [Change(key: "a", value: "1")], [Change(key: "b", value: "2")],
        [Change(key: "b", value: nil)],
      ] {
        history.sent(write)
        history.acknowledged()
      }
      return history
    }

    @Test("takes what was acknowledged")
    func exact() {
      #expect(history().faults(in: ["a": "1"]) == [])
    }

    @Test("finds a write that is lost")
    func lost() {
      #expect(
        history().faults(in: [:]) == ["a: acknowledged \"1\" of 1 bytes, found nothing"])
    }

    @Test("finds a value that is not the last one")
    func stale() {
      var history = history()
      history.sent([Change(key: "a", value: "3")])
      history.acknowledged()
      #expect(history.faults(in: ["a": "1"]).count == 1)
    }

    @Test("finds a key that was removed and is back")
    func resurrected() {
      #expect(history().faults(in: ["a": "1", "b": "2"]).count == 1)
    }

    @Test("takes a write without an answer whole or not at all")
    func batch() {
      var history = history()
      history.sent([Change(key: "a", value: nil), Change(key: "c", value: "9")])
      #expect(history.faults(in: ["a": "1"]) == [])
      #expect(history.faults(in: ["c": "9"]) == [])
      #expect(history.faults(in: ["a": "1", "c": "9"]).count == 1)
      #expect(history.faults(in: [:]).count == 1)
      #expect(history.faults(in: ["c": "8"]).count == 1)
    }

    @Test("takes only the first of several writes without an answer")
    func order() {
      var history = history()
      history.sent([Change(key: "b", value: "5")])
      history.sent([Change(key: "c", value: "6")])
      #expect(history.faults(in: ["a": "1", "b": "5"]) == [])
      #expect(history.faults(in: ["a": "1", "b": "5", "c": "6"]) == [])
      #expect(history.faults(in: ["a": "1", "c": "6"]).count == 1)
    }

    @Test("does not expect what was refused")
    func refused() {
      var history = history()
      history.sent([Change(key: "c", value: "6")])
      history.refused()
      #expect(history.faults(in: ["a": "1"]) == [])
      #expect(history.faults(in: ["a": "1", "c": "6"]).count == 1)
    }

    @Test("finds the loss when the log's last acknowledged bytes are cut off")
    func cutLog() async throws {
      let directory = try TemporaryDirectory()
      let settings = ServedNode.Settings(in: directory)
      let node = try await ServedNode.start(settings)
      let written = try await Threads.runOne {
        var history = WriterHistory(keys: (0..<20).map { "key-\($0)" })
        let connection = try node.connect()
        for key in history.keys {
          history.sent([Change(key: key, value: "value of \(key)")])
          guard try connection.put(key, "value of \(key)").status == 201 else { break }
          history.acknowledged()
        }
        return history
      }
      try await node.kill()
      #expect(written.acknowledgedCount == 20)
      // From the last write on, and a mark that may stand behind it: nothing else knows of them.
      let log = try LogFixture(in: directory)
      let frames = try log.frames()
      let last = try #require(
        try frames.lastIndex { place in
          let bytes = try Data(contentsOf: URL(fileURLWithPath: place.file))
          let frame = bytes[Int(place.offset)..<Int(place.offset) + Int(place.header.frameBytes)]
          return frame.firstRange(of: Data("value of key-19".utf8)) != nil
        })
      for place in frames[last...] { try log.tear(place, keeping: 0) }
      let again = try await ServedNode.start(settings)
      let found = try await Threads.runOne {
        try NodeWriter.read(written.keys, try again.connect())
      }
      #expect(
        written.faults(in: found) == [
          "key-19: acknowledged \"value of key-19\" of 15 bytes, found nothing"
        ])
      try await again.stop()
    }
  }
}
