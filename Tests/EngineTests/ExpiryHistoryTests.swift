import Engine
import SimulatedDisk
import Testing
import WAL

/// Random histories of writes, by a clock that leaps and goes back, beside a plain model of them.
@Suite("Histories of keys that expire")
struct ExpiryHistoryTests {
  private static let keys = (0..<12).map { "key-\($0)" }

  /// What the state was behind a frame.
  private struct Moment: Equatable {
    var frameTime: UInt64
    var digest: Digest
    var contents: [[UInt8]: Found]

    init(_ index: Index) {
      frameTime = index.frameTime
      digest = index.digest()
      contents = index.contents()
    }
  }

  @Test(
    "leave what a replay of their log leaves, frame by frame, and answer as the clock says",
    arguments: 0..<12 as Range<UInt64>)
  func replays(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    let fixture = try CommitterFixture(SimulatedDisk(seed: seed), segmentBytes: 4_096)
    var model = ExpiryModel(sequence: fixture.log.position.sequence)
    var moments: [UInt64: Moment] = [:]
    fixture.recorder.afterFrame = {
      // The committer says so before it goes on.
      moments[fixture.index.appliedSequence] = Moment(fixture.index)
    }
    for _ in 0..<300 {
      moveTime(fixture, &random)
      let takes = (0...random.below(2)).map { _ in
        (0...random.below(6)).map { _ in write(fixture, &random) }
      }
      let submissions = takes.map { writes in
        let submission = fixture.submission()
        for write in writes { submission.add(write, fixture.index) }
        return submission
      }
      model.begin(
        now: fixture.clock.wallMilliseconds, sequence: fixture.log.position.sequence)
      fixture.commit(submissions)
      let outcomes = submissions.flatMap { $0.requests.map(\.outcome) }
      let expected = takes.flatMap { $0 }.map { model.judge($0) }
      let sequence = fixture.log.position.sequence
      model.endFrame(hasRecords: model.sequence != model.startSequence)
      let isSame = fixture.index.contents() == model.entries
      _ = fixture.work.tick()
      model.endFrame(hasRecords: fixture.log.position.sequence != model.sequence)
      moments[fixture.index.appliedSequence] = Moment(fixture.index)
      // The first difference says enough.
      try #require(outcomes == expected && model.sequence == sequence, "at \(sequence)")
      try #require(
        isSame && fixture.index.contents() == model.entries, "other contents at \(sequence)")
    }
    fixture.recorder.afterFrame = {}
    try compare(fixture, moments)
  }

  private func moveTime(_ fixture: CommitterFixture, _ random: inout SeededRandom) {
    switch random.below(12) {
    case 0: fixture.clock.wallMilliseconds -= UInt64(random.below(3_000))
    case 1: fixture.clock.wallMilliseconds += UInt64(random.below(3_000))
    case 2: fixture.clock.advance(milliseconds: 2_000)
    case 3, 4: fixture.clock.advance(milliseconds: UInt64(random.below(300)))
    default: fixture.clock.advance(milliseconds: UInt64(random.below(20)))
    }
  }

  private func write(
    _ fixture: CommitterFixture, _ random: inout SeededRandom
  ) -> ExpiryModel.Write {
    if random.once(in: 6) {
      return .batch((0...random.below(3)).map { _ in operation(fixture, &random) })
    }
    let rule: ExpiryModel.Rule =
      switch random.below(8) {
      case 0: .isNew
      case 1: .exists
      case 2: .version(fixture.version(Self.keys[random.below(Self.keys.count)]) ?? 1)
      default: .none
      }
    return .single(operation(fixture, &random), rule)
  }

  private func operation(
    _ fixture: CommitterFixture, _ random: inout SeededRandom
  ) -> ExpiryModel.Operation {
    let key = utf8(Self.keys[random.below(Self.keys.count)])
    guard !random.once(in: 3) else { return ExpiryModel.Operation(key: key) }
    let value = random.bytes(random.once(in: 20) ? 3_000 : random.below(20))
    // Some are over before they are written.
    let end = UInt64(Int(fixture.clock.wallMilliseconds) + random.below(1_500) - 200)
    return ExpiryModel.Operation(key: key, value: value, expiry: random.once(in: 3) ? nil : end)
  }

  private func compare(_ fixture: CommitterFixture, _ moments: [UInt64: Moment]) throws {
    let index = Index()
    var replay = Replay(index: index, epochs: EpochHistory())
    var compared = 0
    var differences: [UInt64] = []
    _ = try LogRecovery.open(fixture.optionsOfAnother()) { (header, records) throws(WALError) in
      try replay.apply(header, records)
      guard let moment = moments[header.lastSequence] else { return }
      compared += 1
      if Moment(index) != moment { differences.append(header.lastSequence) }
    }
    #expect(differences == [] && replay.digestMismatches == [])
    #expect(compared == moments.count && compared > 250)
  }
}

extension Submission {
  fileprivate func add(_ write: ExpiryModel.Write, _ index: Index) {
    switch write {
    case .single(let operation, let rule):
      let condition: WriteCondition =
        switch rule {
        case .none: .always
        case .isNew: .isNew
        case .exists: .exists
        case .version(let version): ifMatch(version)
        }
      if let value = operation.value {
        put(operation.key, value, index, condition, expiry: operation.expiry)
      } else {
        delete(operation.key, index, condition)
      }
    case .batch(let operations):
      beginBatch()
      for operation in operations {
        operation.key.withUnsafeBytes { key in
          guard let value = operation.value else { return addDelete(key) }
          value.withUnsafeBytes { addPut(key, $0, expiry: operation.expiry) }
        }
      }
      endBatch(token: UInt(requests.count))
    }
  }
}
