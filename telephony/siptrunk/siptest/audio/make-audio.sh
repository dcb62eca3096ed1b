#!/bin/sh
# Synthesises the speech of the simulated carrier: 8 kHz mono µ-law WAV files,
# in this folder. Needs espeak-ng and sox. See README.md.
set -eu
cd "$(dirname "$0")"

# say NAME VOICE SPEED PITCH LEVEL TEXT
#   SPEED in words a minute, PITCH 0-99, LEVEL the peak in dB below full scale.
# The band of a telephone line is kept (300-3400 Hz), silence at both ends cut.
say() {
	espeak-ng -v "$2" -s "$3" -p "$4" -w raw.wav "$6"
	sox -R raw.wav -r 8000 -c 1 -e mu-law "$1.wav" \
		highpass 280 lowpass 3400 \
		silence 1 0.01 0.5% fade t 0.005 \
		reverse silence 1 0.01 0.5% fade t 0.02 reverse norm "$5"
	rm raw.wav
}

# People who answer.
say hello-1        en-us+f3          150 60  -5  "Hello?"
say hello-2        en-gb+m3          140 40  -8  "Hello."
say hello-3        en-us+m7          170 45  -4  "Yeah, hello?"
say hello-4        en-gb-scotland+f2 145 65  -9  "Hi."
say hello-5        en-us+f5          155 70 -12  "Hello, who is this?"
say hello-6        en-gb-x-rp+m1     150 35  -6  "Hello, Peter speaking."
say hello-7        en-us+m2          130 30 -14  "Yes?"
say hello-8        en-gb+f4          160 75  -7  "Good morning, this is Anna."
say hello-long-1   en-us+f2          160 55  -6  "Hello, the Miller residence, Susan speaking, how can I help you?"
say hello-long-2   en-gb-x-rp+m4     150 40  -7  "Just a second. Hello? Yes, hello, sorry, who is calling please?"
say business-1     en-us+f4          170 60  -5  "Thank you for calling Harbour Garage, this is Kelly, how may I help?"
say business-2     en-gb+m5          165 45  -6  "Northside Dental, good afternoon, Martin speaking."
say hello-again    en-us+f3          150 66  -6  "Hello? Is anybody there?"

# Answering machines; the beep is generated in Go and follows.
say voicemail-1    en-us+f1          165 50  -5  "Hi, you have reached the voicemail of Carol Dean. I can't take your call right now. Please leave your name and number after the tone, and I will call you back."
say voicemail-2    en-us+f3          175 55  -4  "The person you are trying to reach is not available. At the tone, please record your message."
say voicemail-3    en-gb+m3          150 38  -8  "Hi, it's Tom. Leave a message."
say voicemail-4    en-gb-x-rp+f2     160 60  -6  "Your call has been forwarded to an automatic voice message system. Please leave a message after the beep. When you have finished, hang up, or press hash for more options."
say voicemail-5    en-us+m1          155 42 -10  "Hello, this is the Baker family. We are out at the moment, please leave us a message and have a nice day."

# The network speaks.
say announcement-1 en-us+f3          165 50  -4  "We're sorry, the number you have dialed is not in service. Please check the number and dial again."
say announcement-2 en-gb-x-rp+f4     160 55  -5  "The number you have called has not been recognised. Please hang up and try again."

# Conversations, played turn by turn in a loop. A pause parts the turns.
say person-1       en-us+f3          160 60  -6  "Oh, I see. Yes, that is me. I have been thinking about it, to be honest. What would it cost me a month?"
say person-2       en-gb+m3          150 40  -8  "Right. Well, I am happy with the one I have, but go on, tell me what is different this time."
say agent-1        en-gb+f5          165 58  -5  "Good day, this is Laura from the service team. I am calling about your contract, which ends next month. Do you have a moment to go through the offer with me?"

# What the dialer plays when no agent is free.
say abandoned      en-us+m3          160 45  -5  "This is Example Services calling. Sorry that nobody could speak to you. You can reach us on five five five, zero one zero zero. To get no more calls from us, press nine."
