import NIOCore
import Server
import Testing

@Suite("Answers of other nodes on a connection") struct RelayedAnswersTests {
  private static func add(_ text: String, _ number: UInt64, to answers: inout RelayedAnswers)
    -> String
  {
    var output = ByteBuffer()
    answers.take(number, charge: 0, into: &output) { $0.writeString(text) }
    return String(buffer: output)
  }

  @Test("keep the order of the requests, however they come")
  func order() {
    var answers = RelayedAnswers()
    for number in 0..<4 as Range<UInt64> {
      #expect(answers.next == number)
      answers.add()
    }
    #expect(Self.add("c", 2, to: &answers) == "" && Self.add("b", 1, to: &answers) == "")
    #expect(answers.open == 4 && !answers.isAlone(0))
    #expect(Self.add("a", 0, to: &answers) == "abc")
    #expect(answers.open == 1 && answers.isAlone(3))
    #expect(Self.add("d", 3, to: &answers) == "d" && answers.open == 0)
  }

  @Test("that are large have until the last one's time is over, also when one before it is taken")
  func deadline() {
    let start = NIODeadline.uptimeNanoseconds(0)
    var answers = RelayedAnswers()
    var output = ByteBuffer()
    for charge in [100, 20] {
      answers.add()
      answers.take(answers.next - 1, charge: charge, into: &output) { _ in }
      let sent = answers.beginSending { start + .seconds(Int64($0)) }
      #expect(sent == charge)
    }
    #expect(answers.beginSending { _ in start } == 0)
    #expect(answers.deadline == start + .seconds(100))
    answers.endSending()
    #expect(answers.deadline == start + .seconds(100))
    answers.endSending()
    #expect(answers.deadline == nil)
  }

  @Test("count until the client has them, or is gone")
  func charges() {
    var answers = RelayedAnswers()
    var output = ByteBuffer()
    for _ in 0..<3 { answers.add() }
    answers.take(0, charge: 1, into: &output) { _ in }
    #expect(answers.beginSending { _ in .now() } == 1)
    answers.take(2, charge: 4, into: &output) { _ in }
    #expect(answers.beginSending { _ in .now() } == 0)
    answers.take(1, charge: 2, into: &output) { _ in }
    #expect(answers.drop() == 6 && answers.drop() == 0)
  }
}
