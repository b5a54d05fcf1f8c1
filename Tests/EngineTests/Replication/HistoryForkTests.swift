import Engine
import Testing
import WAL

@Suite("The fork of two histories")
struct HistoryForkTests {
  private typealias Start = EpochHistory.Start

  private static func start(_ number: UInt64, _ node: UInt64, _ first: UInt64) -> EpochHistory.Start
  {
    EpochHistory.Start(epoch: Epoch(number: number, node: node), firstSequence: first)
  }

  private static func find(
    _ own: [EpochHistory.Start], _ end: UInt64, _ leader: [EpochHistory.Start]
  ) -> HistoryFork? {
    HistoryFork.find(own: own, through: end, leader: leader)
  }

  @Test("is where the leader's next epoch begins, of an epoch that went on here")
  func wentOn() {
    let own = [Self.start(1, 7, 1)]
    let fork = Self.find(own, 100, [Self.start(1, 7, 1), Self.start(2, 8, 81)])
    #expect(fork == HistoryFork(sequence: 80, epoch: Epoch(number: 1, node: 7)))
  }

  @Test("is where the own next epoch begins, of an epoch that went on at the leader")
  func endedHere() {
    let own = [Self.start(1, 7, 1), Self.start(2, 7, 51)]
    let fork = Self.find(own, 100, [Self.start(1, 7, 1), Self.start(3, 8, 81)])
    #expect(fork == HistoryFork(sequence: 50, epoch: Epoch(number: 1, node: 7)))
  }

  @Test("is in the newest epoch that both have, however many came before and after")
  func newest() {
    let shared = [Self.start(1, 7, 1), Self.start(2, 8, 20), Self.start(3, 7, 30)]
    let own = shared + [Self.start(4, 7, 60), Self.start(5, 7, 70)]
    let leader = shared + [Self.start(4, 9, 55), Self.start(6, 9, 90)]
    let fork = HistoryFork(sequence: 54, epoch: Epoch(number: 3, node: 7))
    #expect(Self.find(own, 100, leader) == fork)
    // The oldest are not told of a long list.
    #expect(Self.find(own, 100, Array(leader.dropFirst(2))) == fork)
  }

  @Test("is not known without a common epoch, behind which both go on")
  func unknown() {
    let own = [Self.start(1, 7, 1)]
    #expect(Self.find(own, 100, []) == nil)
    #expect(Self.find([], 0, [Self.start(1, 7, 1), Self.start(2, 8, 81)]) == nil)
    #expect(Self.find(own, 100, [Self.start(1, 8, 1), Self.start(2, 8, 81)]) == nil)
    // The same number and node, begun elsewhere: another epoch.
    #expect(Self.find(own, 100, [Self.start(1, 7, 2), Self.start(2, 8, 81)]) == nil)
    // It is the leader's last: nothing says where it ends there.
    #expect(Self.find(own, 100, [Self.start(1, 7, 1)]) == nil)
    // There is nothing behind it here.
    #expect(Self.find(own, 80, [Self.start(1, 7, 1), Self.start(2, 8, 81)]) == nil)
    #expect(Self.find(own, 60, [Self.start(1, 7, 1), Self.start(2, 8, 81)]) == nil)
  }
}
