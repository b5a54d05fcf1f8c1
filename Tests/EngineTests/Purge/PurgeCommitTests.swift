import Engine
import SimulatedDisk
import Testing
import WAL

@Suite("A purge that was checked before it is committed")
struct PurgeCommitTests {
  private let fixture: CommitterFixture
  private let own: [String]
  private let foreign: [String]

  init() throws {
    let fixture = try CommitterFixture()
    let keys = (0..<40).map { "key-\($0)" }
    for key in keys { fixture.commit { $0.put(key, "one", fixture.index) } }
    func isOwn(_ key: String) -> Bool { fixture.index.hash(utf8(key)).shard % 2 == 0 }
    (own, foreign) = (keys.filter(isOwn), keys.filter { !isOwn($0) })
    self.fixture = fixture
  }

  private func purge(_ through: UInt64?) -> Submission {
    let submission = fixture.submission()
    submission.purge(
      keeping: ShardRange(hash: 1, index: 0, count: 2), checkedThrough: through, token: 0)
    return submission
  }

  private func outcome(_ through: UInt64?) -> WriteRequest {
    fixture.commit([purge(through)])[0].requests[0]
  }

  @Test("happens where nothing that goes was written since, whatever else was")
  func unchanged() throws {
    let through = fixture.log.position.sequence
    fixture.commit { $0.put(own[0], "two", fixture.index) }
    fixture.commit { $0.delete(foreign[0], fixture.index) }
    let request = outcome(through)
    #expect(request.removed == foreign.count - 1)
    #expect(request.version == through + 3 && fixture.log.position.sequence == through + 3)
    #expect(fixture.index.count == own.count)
  }

  @Test("does not happen, and is not logged, where something was", arguments: [true, false])
  func changed(sameBatch: Bool) throws {
    let through = fixture.log.position.sequence
    let write = fixture.submission()
    write.put(foreign[3], "two", fixture.index)
    let request: WriteRequest
    if sameBatch {
      request = fixture.commit([write, purge(through)])[1].requests[0]
    } else {
      fixture.commit([write])
      request = outcome(through)
    }
    guard case .conditionFailed = request.outcome else {
      Issue.record("\(request.outcome)")
      return
    }
    #expect(request.version == 0 && request.removed == 0)
    #expect(fixture.log.position.sequence == through + 1)
    #expect(fixture.index.count == own.count + foreign.count)
    // Checked again, or not at all, it does.
    #expect(outcome(through + 1).removed == foreign.count)
  }

  @Test("does not look where it is not told to")
  func forced() {
    fixture.commit { $0.put(foreign[3], "two", fixture.index) }
    #expect(outcome(nil).removed == foreign.count)
  }

  @Test("counts a key that came and went as not written")
  func gone() {
    let through = fixture.log.position.sequence
    fixture.commit { $0.put(foreign[3], "two", fixture.index) }
    fixture.commit { $0.delete(foreign[3], fixture.index) }
    #expect(outcome(through).removed == foreign.count - 1)
  }
}
