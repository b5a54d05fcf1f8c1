import Bench
import Client
import Testing

struct VersionBoardTests {
  private func order(_ version: UInt64, epoch: UInt64 = 1) -> UInt64 {
    VersionBoard.order(version: version, epoch: epoch)
  }

  @Test("Less than what was acknowledged before the read began is stale")
  func stale() throws {
    let board = try VersionBoard(keys: 2)
    board.writeBegan(1)
    board.writeAcknowledged(1, order: order(5), now: 100)
    let mark = board.readBegan(1)
    #expect(board.judge(1, since: mark, order: order(4)) == .stale)
    #expect(board.judge(1, since: mark, order: 0) == .stale)
    #expect(board.judge(1, since: mark, order: order(5)) == .fresh)
    #expect(board.judge(1, since: mark, order: order(6)) == .fresh)
    #expect(board.judge(0, since: board.readBegan(0), order: 0) == .fresh)
  }

  @Test("What is acknowledged while a read is under way does not make it stale")
  func acknowledgedMeanwhile() throws {
    let board = try VersionBoard(keys: 1)
    board.writeBegan(0)
    board.writeAcknowledged(0, order: order(5), now: 100)
    let mark = board.readBegan(0)
    board.writeBegan(0)
    board.writeAcknowledged(0, order: order(6), now: 200)
    #expect(board.judge(0, since: mark, order: order(5)) == .concurrent)
    #expect(board.judge(0, since: mark, order: order(6)) == .concurrent)
    #expect(board.judge(0, since: mark, order: order(4)) == .stale)
  }

  @Test("A write that was under way when a read began is concurrent to it")
  func underWay() throws {
    let board = try VersionBoard(keys: 1)
    board.writeBegan(0)
    let mark = board.readBegan(0)
    #expect(board.judge(0, since: mark, order: 0) == .concurrent)
    board.writeFailed(0)
    #expect(board.judge(0, since: mark, order: 0) == .concurrent)
    #expect(board.judge(0, since: board.readBegan(0), order: 0) == .fresh)
  }

  @Test("Answers that overtake each other do not set a version back")
  func overtaking() throws {
    let board = try VersionBoard(keys: 1)
    for version in [UInt64(7), 6] {
      board.writeBegan(0)
      board.writeAcknowledged(0, order: order(version), now: 1)
    }
    #expect(board.judge(0, since: board.readBegan(0), order: order(6)) == .stale)
  }

  @Test("A later epoch is newer; a key that was stored before must not be absent")
  func epochs() throws {
    let board = try VersionBoard(keys: 1)
    board.keyIsPresent(0)
    #expect(board.judge(0, since: board.readBegan(0), order: 0) == .stale)
    #expect(board.judge(0, since: board.readBegan(0), order: order(1, epoch: 0)) == .fresh)
    board.writeBegan(0)
    board.writeAcknowledged(0, order: order(900), now: 1)
    #expect(board.judge(0, since: board.readBegan(0), order: order(3, epoch: 2)) == .fresh)
  }

  @Test(
    "Of a leaderless set a read is stale that has not seen what was acknowledged before it began")
  func contexts() throws {
    let (a, b) = ("00000000000000aa", "00000000000000bb")
    let board = try VersionBoard(keys: 2, judgesContexts: true)
    func acknowledge(_ text: String) throws {
      board.writeBegan(0)
      board.writeAcknowledged(
        0, order: VersionBoard.presence, context: try #require(KVContext(text)), now: 1)
    }
    func judge(_ text: String, _ mark: VersionBoard.Mark) throws -> VersionBoard.Verdict {
      board.judge(
        0, since: mark, order: VersionBoard.presence, context: try #require(KVContext(text)))
    }
    // Two nodes, of which neither has seen the other's write.
    try acknowledge("\(b):4")
    try acknowledge("\(a):7")
    let mark = board.readBegan(0)
    #expect(try judge("\(a):7,\(b):4", mark) == .fresh)
    #expect(try judge("\(a):9,\(b):4,00000000000000cc:1", mark) == .fresh)
    for text in ["\(a):7", "\(b):9", "\(a):6,\(b):4", "\(a):7,\(b):3", "", "00000000000000cc:9"] {
      #expect(try judge(text, mark) == .stale, "\(text)")
    }
    #expect(board.judge(0, since: mark, order: 0) == .stale)
    // What is acknowledged meanwhile does not make it stale.
    try acknowledge("\(a):8,\(b):4")
    #expect(try judge("\(a):7,\(b):4", mark) == .concurrent)
    #expect(try judge("\(a):7,\(b):4", board.readBegan(0)) == .stale)
    // Another key has nothing to do with it.
    #expect(board.judge(1, since: board.readBegan(1), order: 0) == .fresh)
    board.keyIsPresent(1)
    #expect(board.judge(1, since: board.readBegan(1), order: 0) == .stale)
    #expect(
      board.judge(1, since: board.readBegan(1), order: VersionBoard.presence) == .fresh)
  }

  @Test("Intervals count from the latest acknowledged write of that key")
  func intervals() throws {
    let board = try VersionBoard(keys: 2)
    #expect(board.nanosecondsSinceWrite(0, now: 5) == nil)
    board.writeBegan(0)
    board.writeAcknowledged(0, order: 1, now: 100)
    #expect(board.nanosecondsSinceWrite(0, now: 350) == 250)
    #expect(board.nanosecondsSinceWrite(0, now: 90) == 0)
    #expect(board.nanosecondsSinceWrite(1, now: 350) == nil)
  }
}
