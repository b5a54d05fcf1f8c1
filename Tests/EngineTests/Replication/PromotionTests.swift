import Engine
import SimulatedDisk
import Testing
import WAL

@Suite("Promotion") struct PromotionTests {
  private static func epoch(_ number: UInt64, _ node: UInt64 = 1) -> Epoch {
    Epoch(number: number, node: node)
  }

  private static func standing(
    _ number: UInt64, _ sequence: UInt64, origin: UInt64 = 7
  ) -> Succession.Standing {
    Succession.Standing(origin: origin, epoch: epoch(number), sequence: sequence)
  }

  @Test("a promise is given for a higher epoch only, and again for the same one")
  func voter() {
    let free = Voter(promised: nil, logEpoch: Self.epoch(2))
    #expect(!free.promises(Self.epoch(1)) && !free.promises(Self.epoch(2)))
    #expect(free.promises(Self.epoch(3)) && free.highest == Self.epoch(2))
    let bound = Voter(promised: Self.epoch(4, 5), logEpoch: Self.epoch(2))
    #expect(bound.promises(Self.epoch(4, 5)) && bound.promises(Self.epoch(4, 6)))
    #expect(!bound.promises(Self.epoch(4, 4)) && !bound.promises(Self.epoch(3, 9)))
    #expect(bound.highest == Self.epoch(4, 5))
    // What was promised has begun.
    let over = Voter(promised: Self.epoch(4), logEpoch: Self.epoch(4))
    #expect(!over.promises(Self.epoch(4)) && over.promises(Self.epoch(5)))
  }

  @Test("takes as many promises as meet every write quorum", arguments: 1...5, 1...5)
  func quorums(members: Int, quorum: Int) {
    guard quorum <= members else { return }
    var promotion = Promotion(
      own: Self.standing(1, 10), node: 2, known: [], memberCount: members, writeQuorum: quorum)
    for number in 1..<max(2, members) where !promotion.isEnough {
      promotion.promised(by: "\(number)", Self.standing(1, 3))
    }
    #expect(promotion.isEnough)
    if quorum > 1 {
      // Any set of W and the promises have a member in common, and one less would not do.
      #expect(promotion.promises + quorum == members + 1)
    } else {
      #expect(promotion.promises == 1)
    }
  }

  @Test("its epoch is above all that is known")
  func number() {
    let promotion = Promotion(
      own: Self.standing(2, 10), node: 9, known: [Self.epoch(4, 3), Self.epoch(1)], memberCount: 3,
      writeQuorum: 2)
    #expect(promotion.epoch == Self.epoch(5, 9))
  }

  @Test("what the most advanced log has is had first: the higher epoch, then the higher number")
  func best() {
    var promotion = Promotion(
      own: Self.standing(2, 10), node: 9, known: [], memberCount: 5, writeQuorum: 3)
    promotion.promised(by: "a", Self.standing(1, 99))
    #expect(promotion.best == nil)
    promotion.promised(by: "b", Self.standing(2, 10))
    #expect(promotion.best == nil)
    promotion.promised(by: "other log", Self.standing(9, 99, origin: 8))
    #expect(promotion.best == nil && promotion.promises == 3)
    promotion.promised(by: "c", Self.standing(2, 11))
    #expect(promotion.best?.address == "c")
    promotion.promised(by: "d", Self.standing(3, 4))
    #expect(promotion.best?.address == "d")
  }

  @Test("a longer log of an older epoch is not enough: what is missing is had from the other one")
  func reached() {
    var promotion = Promotion(
      own: Self.standing(1, 20), node: 9, known: [], memberCount: 3, writeQuorum: 2)
    promotion.promised(by: "b", Self.standing(2, 15))
    #expect(promotion.best?.address == "b")
    #expect(!promotion.isReached(by: Self.standing(1, 20)))
    #expect(!promotion.isReached(by: Self.standing(2, 14)))
    #expect(promotion.isReached(by: Self.standing(2, 15)))
    promotion = Promotion(
      own: Self.standing(1, 20), node: 9, known: [Self.epoch(2)], memberCount: 3, writeQuorum: 2)
    promotion.promised(by: "b", Self.standing(2, 15))
    #expect(!promotion.mayBegin(behind: Self.standing(1, 20)))
    #expect(promotion.mayBegin(behind: Self.standing(2, 16)))
    // Whom it has fetched from followed a leader of a higher epoch meanwhile.
    #expect(promotion.epoch == Self.epoch(3, 9))
    #expect(!promotion.mayBegin(behind: Self.standing(4, 30)))
    #expect(!promotion.mayBegin(behind: Self.standing(2, 16, origin: 8)))
  }

  @Test("a log that was cut does not stand for what it had, unless it is all there is")
  func cutLogs() {
    var promotion = Promotion(
      own: Self.standing(1, 20), mayLack: true, node: 9, known: [], memberCount: 3, writeQuorum: 2)
    promotion.promised(by: "b", Self.standing(1, 15))
    promotion.promised(by: "b", Self.standing(1, 15))
    #expect(promotion.promises == 2 && promotion.surePromises == 1 && !promotion.isEnough)
    var other = promotion
    promotion.promised(by: "c", Self.standing(1, 16))
    #expect(promotion.surePromises == 2 && promotion.isEnough)
    // All have lost power.
    other.promised(by: "c", Self.standing(1, 16), mayLack: true)
    #expect(other.surePromises == 1 && other.promises == 3 && other.isEnough)
    let alone = Promotion(
      own: Self.standing(1, 20), mayLack: true, node: 9, known: [], memberCount: 3, writeQuorum: 1)
    #expect(alone.isEnough)
  }

  @Test("nobody promises the question, and who leads makes room for a higher epoch only")
  func questions() {
    let empty = Voter(promised: nil, logEpoch: LogPosition.start.epoch)
    #expect(!empty.promises(Promotion.question) && empty.promises(Self.epoch(1, 1)))
    let leader = Voter(promised: Self.epoch(2, 3), logEpoch: Self.epoch(2, 3))
    #expect(!leader.waits && leader.follows(Self.epoch(2, 3)) && !leader.follows(Self.epoch(2, 2)))
    #expect(!leader.yields(to: Self.epoch(2, 3)) && leader.yields(to: Self.epoch(2, 4)))
    let bound = Voter(promised: Self.epoch(4), logEpoch: Self.epoch(2))
    #expect(bound.waits && !bound.follows(Self.epoch(3)) && bound.follows(Self.epoch(4)))
    #expect(!bound.yields(to: Self.epoch(3)) && bound.yields(to: Self.epoch(5)))
    #expect(!bound.acknowledges(Self.epoch(3)) && bound.acknowledges(Self.epoch(4)))
    #expect(empty.acknowledges(Self.epoch(1)))
  }

  @Test("whoever refuses says what it knows")
  func refused() {
    var promotion = Promotion(
      own: Self.standing(1, 1), node: 9, known: [], memberCount: 3, writeQuorum: 2)
    promotion.refused(Self.epoch(3))
    promotion.refused(Self.epoch(2, 8))
    #expect(promotion.higher == Self.epoch(3) && !promotion.isEnough)
  }

  @Test("a promise is durable, whenever the power fails, or the one before it is")
  func note() throws {
    var isOver = false
    for call in 1...50 where !isOver {
      let disk = SimulatedDisk(seed: UInt64(call))
      let note = PromiseNote("/data", fileSystem: disk)
      #expect(try note.read() == nil)
      try note.write(Self.epoch(2, 5))
      let last = disk.calls + call
      disk.fault = { [unowned disk] _, _ in disk.calls >= last ? .die : nil }
      do {
        try note.write(Self.epoch(3, 0xab))
        isOver = true
      } catch {}
      disk.losePower()
      let found = try note.read()
      #expect(found == Self.epoch(3, 0xab) || !isOver && found == Self.epoch(2, 5))
    }
    #expect(isOver)
  }

  @Test(
    "a promise that cannot be read is an error, not none", arguments: ["", "2", "x-y", "2-1-3"])
  func damaged(text: String) throws {
    let disk = SimulatedDisk(seed: 1)
    disk.put("/data/promise", Array(text.utf8))
    #expect(throws: WALError.self) { try PromiseNote("/data", fileSystem: disk).read() }
  }
}
