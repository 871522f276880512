"""The words around a scenario's own: headings, prediction, navigation; in every language of the texts."""

from forklab.harness.scenario import Text

PARTS = {
    "processes": Text(en="Processes", ko="프로세스"),
    "signals": Text(en="Signals", ko="시그널"),
    "connections": Text(en="Connections", ko="연결"),
    "pipes": Text(en="Pipes", ko="파이프"),
    "models": Text(en="Server models", ko="서버 모델"),
    "faults": Text(en="Faults", ko="장애"),
}
"""Of ``protocol.lessons.PARTS``."""

TITLE = Text(en="Concurrent servers, lesson by lesson", ko="동시성 서버, 한 단원씩")
LESSON = Text(en="Lesson", ko="단원")
ALL = Text(en="All lessons", ko="모든 단원")
PREVIOUS = Text(en="Previous", ko="이전")
NEXT = Text(en="Next", ko="다음")
PREDICT = Text(en="What do you expect?", ko="어떻게 될까?")
FIRST = Text(en="Answer before you read on.", ko="계속 읽기 전에 먼저 답해 보자.")
REVEAL = Text(en="Show the answer", ko="답 보기")
ANSWER = Text(en="The answer", ko="정답")
YOURS = Text(en="Your answer", ko="나의 답")
THEORY = Text(en="What theory says", ko="이론이 말하는 것")
SOURCE = Text(en="Where that stands", ko="출처")
MEASURED = Text(en="What was measured", ko="실제로 측정한 것")
EVIDENCE = Text(en="The lines that decide it, from the kernel:", ko="결과를 결정하는 줄들 (커널에서 읽은 것):")
FIGURES = Text(en="Figures", ko="측정값")
FIGURE = Text(en="figure", ko="이름")
VALUE = Text(en="value", ko="값")
SPREAD = Text(en="Over {count} runs", ko="{count}번 실행한 결과")
LEAST = Text(en="lowest", ko="최소")
MEDIAN = Text(en="median", ko="중앙값")
MOST = Text(en="highest", ko="최대")
RUNS = Text(en="runs", ko="횟수")
SAID = Text(
    en="What the program itself printed (shown, not judged)", ko="프로그램이 출력한 내용 (참고용, 판정에는 쓰지 않음)"
)
VERDICT = Text(en="Verdict", ko="판정")
EXPLANATION = Text(en="What to take home", ko="정리")
AGAIN = Text(en="Run it again", ko="다시 실행하기")
CHOOSE = Text(en="What you may choose", ko="바꿀 수 있는 값")
HERE = Text(en="this run", ko="이번 실행")
TRACE = Text(
    en="Open this time-line: step through each call, forwards and backwards",
    ko="이 타임라인 열기: 호출을 하나씩 앞뒤로 살펴볼 수 있다",
)
UNDRAWN = Text(
    en="This computer cannot draw charts: vl-convert is not made for it.",
    ko="이 컴퓨터에서는 그래프를 그릴 수 없다. vl-convert가 지원하지 않는 기종이다.",
)
QUESTION = Text(en="Question", ko="질문")
PASS = Text(en="theory and measurement agree", ko="이론과 측정이 일치한다")
FAIL = Text(en="what theory predicts did not happen", ko="이론의 예측대로 되지 않았다")
INCONCLUSIVE = Text(en="it could not be seen here", ko="여기서는 확인할 수 없었다")
ERROR = Text(en="the lab itself failed", ko="실습 환경 자체에 문제가 생겼다")

RIGHT = Text(en="Right.", ko="맞았다.")
WRONG = Text(en="Not so. Right is {letter}) {answer}.", ko="아니다. 정답은 {letter}) {answer}.")
OPEN = Text(
    en="Theory says {letter}) {answer}. This run did not confirm it.",
    ko="이론상 정답은 {letter}) {answer}. 다만 이번 실행으로는 확인되지 않았다.",
)
NOT_MEASURED = Text(en="This run did not measure it.", ko="이번 실행에서는 측정되지 않았다.")
UNMEASURED = Text(
    en="You said {guess}. This run did not measure it.", ko="예상은 {guess}. 이번 실행에서는 측정되지 않았다."
)
EXACT = Text(en="You said {guess}, and so it is.", ko="예상은 {guess}, 실제도 그렇다.")
CLOSE = Text(
    en="You said {guess}, measured was {value}: within 10 %.", ko="예상은 {guess}, 측정값은 {value}. 오차 10 % 이내다."
)
NEAR = Text(
    en="You said {guess}, measured was {value}: within a factor of 2.",
    ko="예상은 {guess}, 측정값은 {value}. 두 배 이내로 맞혔다.",
)
LESS = Text(
    en="You said {guess}, measured was {value}: {factor} times as much.",
    ko="예상은 {guess}, 측정값은 {value}. 예상의 {factor}배다.",
)
MORE = Text(
    en="You said {guess}, measured was {value}: you said {factor} times as much.",
    ko="예상은 {guess}, 측정값은 {value}. 실제의 {factor}배로 예상했다.",
)
FAR = Text(en="You said {guess}, measured was {value}.", ko="예상은 {guess}, 측정값은 {value}.")
ASK_LETTER = Text(en="Your answer ({letters}): ", ko="답 ({letters}): ")
ASK_NUMBER = Text(en="Your answer, a number{unit}: ", ko="답, 숫자{unit}: ")
