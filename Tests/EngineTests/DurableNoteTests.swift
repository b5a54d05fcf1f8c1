import Engine
import SimulatedDisk
import Testing
import WAL

@Suite("A note in a data directory") struct DurableNoteTests {
  private static func text(_ note: DurableNote) throws -> String? {
    try note.read(bytes: 64).map { String(decoding: $0, as: UTF8.self) }
  }

  @Test("is what was written last, and gone once it was removed")
  func lines() throws {
    let disk = SimulatedDisk(seed: 1)
    let note = DurableNote("/data", "note", fileSystem: disk)
    #expect(try !note.isThere() && Self.text(note) == nil)
    try note.remove()
    try note.write("a long line")
    #expect(try note.isThere() && Self.text(note) == "a long line")
    try note.write("short")
    #expect(try Self.text(note) == "short")
    try note.write("")
    #expect(try note.isThere() && Self.text(note) == "")
    try note.remove()
    #expect(try !note.isThere() && Self.text(note) == nil)
    #expect(disk.paths.filter { $0.hasPrefix("/data/") } == [])
  }

  @Test("is the old one or the new one, whole, at whichever call the power goes")
  func crashes() throws {
    var call = 1
    var wasInterrupted = true
    while wasInterrupted {
      wasInterrupted = false
      for seed in 0..<8 as Range<UInt64> {
        for isRemoved in [false, true] {
          let disk = SimulatedDisk(seed: seed, directories: ["/data"])
          let note = DurableNote("/data", "note", fileSystem: disk)
          try note.write("the first line")
          let target = disk.calls + call
          disk.fault = { _, _ in disk.calls >= target ? .die : nil }
          var isDone = true
          do throws(WALError) {
            if isRemoved { try note.remove() } else { try note.write("the next") }
          } catch {
            isDone = false
            wasInterrupted = true
          }
          if seed % 2 == 0 { disk.losePower() } else { disk.restartProcess() }
          let found = try Self.text(note)
          let new = isRemoved ? nil : "the next"
          #expect(found == new || !isDone && found == "the first line", "\(call): \(found ?? "-")")
        }
      }
      call += 1
    }
    #expect(call > 5)
  }

  @Test("of a promise that cannot be read is an error, since nobody knows what was promised")
  func promise() throws {
    let disk = SimulatedDisk(seed: 1, directories: ["/data"])
    let note = PromiseNote("/data", fileSystem: disk)
    #expect(try note.read() == nil)
    let epoch = Epoch(number: 12, node: 0xA11CE)
    try note.write(epoch)
    #expect(try note.read() == epoch)
    for text in ["", "12", "12-x", "12-00000000000a11ce-1"] {
      try DurableNote("/data", "promise", fileSystem: disk).write(text)
      #expect(throws: WALError.self) { try note.read() }
    }
  }
}
